"""What happens, in what order: one Prefect flow a file."""
