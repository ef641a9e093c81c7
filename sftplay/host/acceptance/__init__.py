"""`inv gpu.*`: the stage `accept` in any runner, its forecast of memory, and results compared."""
