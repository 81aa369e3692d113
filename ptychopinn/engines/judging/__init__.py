"""Why a fit is poor, and what to do about it."""
