// What tests call.
globalThis.tutorial = {
  SECTIONS, plane, planeOf, overlaps, outLength, correlate, samePadding, paint, pool, crop, addPlanes, receptiveFields, effectiveField, shifted, answer,
  runAlgorithm, unpack,
};
