"""SQL Server: source and target, by Microsoft's driver."""
