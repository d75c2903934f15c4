-- End what begin.sql began, and keep it.
commit
