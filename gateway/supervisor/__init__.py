"""`filmgate up`: the processes of one machine, and its embedded Redis."""
