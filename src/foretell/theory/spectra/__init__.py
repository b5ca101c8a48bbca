"""Random-matrix spectra: generalised Marchenko-Pastur laws, masked regression, outliers."""
