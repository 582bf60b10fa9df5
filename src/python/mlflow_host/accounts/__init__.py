"""Who may do what: MLflow's own accounts and permissions, and what we put in front of them."""
