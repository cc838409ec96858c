"""Server processes: the supervisor, its workers, signals and the ready line."""
