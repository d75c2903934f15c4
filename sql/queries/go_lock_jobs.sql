-- Keep everybody else from adding and taking jobs of KongTask for Go until the transaction ends.
-- returns  nothing
lock table {schema}.jobs in share row exclusive mode
