// What a page knows: runs with their rows, numbers as typed arrays.

function floats(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

function row(plain, run) {
  const projections = new Map(Object.entries(plain.projections).map(([key, text]) => [key, floats(text)]));
  const norms = new Map(Object.entries(plain.norms).map(([layer, text]) => [Number(layer), floats(text)]));
  const written = plain.writes.map((write) => write.layer);
  return { ...plain, run, projections, norms, firstWrite: written.length ? Math.min(...written) : null };
}

/** Runs as the page's JSON holds them, their rows unpacked. Traits that may read by chance stand behind the others. */
export function readRuns(plain) {
  return plain.map((one) => {
    const run = { ...one };
    if (one.view === "watch") {
      run.traits = sureFirst(one.traits);
      run.rows = one.rows.map((each) => row(each, run));
    }
    return run;
  });
}

const sureFirst = (traits) => [...traits].sort((a, b) => Boolean(a.doubt) - Boolean(b.doubt));

/** The traits of some runs, each once: as the first run knows it that doubts it, or else the first of all. */
export function traitsOf(runs) {
  const found = new Map();
  for (const one of runs.flatMap((run) => run.traits)) {
    if (!found.has(one.name) || (one.doubt && !found.get(one.name).doubt)) found.set(one.name, one);
  }
  return sureFirst(found.values());
}

/** A trait of a run by `name` or by `name@layer`; undefined where the run has none of that name. */
export function traitOf(run, key) {
  return run.traits.find((one) => key === one.name || key.slice(0, key.lastIndexOf("@")) === one.name);
}

/** Value, calibrated z and cosine of a trait after token `t` of a row. Null where the layer was not watched. */
export function reading(row, trait, layer, t) {
  const key = `${trait}@${layer}`;
  const values = row.projections.get(key);
  if (!values) return null;
  const part = t < row.prompt_length ? "prompt" : "response";
  const scale = row.run.calibration[part][key];
  const norm = row.norms.get(layer)[t];
  return {
    value: values[t],
    z: (values[t] - scale.zero) / scale.unit,
    // A norm of zero was not measured.
    cosine: norm > 0 ? values[t] / norm : NaN,
  };
}

/** Whether a layer carries what was written above it in the network: it lies behind the first written layer. */
export function carries(row, layer) {
  return row.firstWrite !== null && layer > row.firstWrite;
}

const LINES = [
  "#d95f02", "#1b78b4", "#33a02c", "#c2185b", "#6a3d9a", "#8d6e00", "#00897b", "#5d4037", "#e7298a", "#546e7a",
  "#7cb342", "#3949ab", "#f9a825", "#00acc1", "#8e24aa", "#ef5350", "#26a69a", "#795548", "#607d8b", "#cddc39",
];

/** The colour of a trait's line, by its place among the run's traits. */
export function lineColour(index) {
  return LINES[index % LINES.length];
}

/** A number to read: four significant digits. */
export function digits(number) {
  return Number.isFinite(number) ? Number(number.toPrecision(4)).toString() : "–";
}

// Control characters but for white space, and those that turn the direction of text, join, part or hide without a trace.
const UNSEEN = /(?![\t\n])[\p{Cc}\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]/gu;

/** Text whose control characters are named instead of obeyed, its white space as it is. */
export function harmless(text) {
  return text.replaceAll(UNSEEN, (one) => `‹U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}›`);
}

/** A token as text that shows its white space. */
export function visible(token) {
  return harmless(token).replaceAll("\n", "⏎").replaceAll("\t", "⇥") || "∅";
}
