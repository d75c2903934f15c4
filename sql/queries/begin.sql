-- Begin a transaction on a connection whose driver leaves each statement to itself.
begin
