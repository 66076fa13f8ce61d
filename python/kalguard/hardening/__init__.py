"""What takes rights away from running processes: from tools that an agent runs."""
