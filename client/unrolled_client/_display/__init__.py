"""What people see of results, in notebooks, drawings and terminals: text, tables and pictures of states."""
