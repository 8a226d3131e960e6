"""Evidence for those who have to judge: what can be evaluated from log, policy and configuration."""
