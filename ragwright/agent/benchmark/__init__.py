"""Will it work as a conversational agent? The same cases for every model, and figures to compare them by."""
