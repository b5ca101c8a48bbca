"""Random-matrix spectra: generalised Marchenko-Pastur laws, masked regression, outliers."""

from foretell.theory.spectra.constant_diagonal import ConstantDiagonalLaw
from foretell.theory.spectra.curve import Curve
from foretell.theory.spectra.effective_ridge import effective_ridge
from foretell.theory.spectra.empirical_spectrum import (
    EmpiricalSpectrum,
    coefficient_spectrum,
    empirical_spectrum,
)
from foretell.theory.spectra.law_points import Atom, Points
from foretell.theory.spectra.marchenko_pastur import MarchenkoPastur, marchenko_pastur
from foretell.theory.spectra.masked_spectrum import masked_spectrum
from foretell.theory.spectra.outliers import (
    CovarianceOutlier,
    Outlier,
    block_outliers,
    covariance_outliers,
    masked_outliers,
)
from foretell.theory.spectra.phase import PhaseDiagram, phase_diagram
from foretell.theory.spectra.spectrum import Spectrum
from foretell.theory.spectra.threshold import bbp_threshold
from foretell.theory.spectra.varying_diagonal import VaryingDiagonalLaw

__all__ = [
    "Atom",
    "ConstantDiagonalLaw",
    "CovarianceOutlier",
    "Curve",
    "EmpiricalSpectrum",
    "MarchenkoPastur",
    "Outlier",
    "PhaseDiagram",
    "Points",
    "Spectrum",
    "VaryingDiagonalLaw",
    "bbp_threshold",
    "block_outliers",
    "coefficient_spectrum",
    "covariance_outliers",
    "effective_ridge",
    "empirical_spectrum",
    "marchenko_pastur",
    "masked_outliers",
    "masked_spectrum",
    "phase_diagram",
]
