-- End what begin.sql began, and undo it.
rollback
