"""IB-IUMAD on parts with depth: settings, learners and modalities, and what tasks forget."""
