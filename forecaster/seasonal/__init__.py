"""Forecasting: seasonal members under one protocol, short-lead correction, calibration, selection.

Pure: demand in, quantiles out. The season is learnt by a member, refitted daily; the residual of
the last hours corrects it at short leads; the quantiles are conformal on verified log errors.
"""
