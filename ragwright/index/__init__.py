"""The snapshot-isolated index: generations that go live whole or not at all.

- `catalog`: what was attempted and published; `lease`: one writer at a time
- `plan`: from what is known and what is wanted to what must be written (pure)
- `attempt`: one try at a new generation, stage by stage; `reindex`: the stages in order
- `reader`: searching the live generation
"""
