"""Training of what knows the chemistry: the composition head of the classifier, and XxaCT-NN."""
