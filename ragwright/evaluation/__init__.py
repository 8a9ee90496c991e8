"""What an index is worth: question sets, metrics, a run over them, and the report people read."""
