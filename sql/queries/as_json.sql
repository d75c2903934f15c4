-- Give the rows of another statement as JSON, which every driver and its settings leave alone.
-- {query}  the other statement
-- returns  one text a row: an object with the row's columns, moments in ISO 8601
select row_to_json(answer)::text as row_json
from ({query}) as answer
