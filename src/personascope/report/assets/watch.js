// The watch view: one row, or two side by side.
import { html, useLayoutEffect, useMemo, useState } from "personascope/preact-htm";
import { carries, traitsOf, visible } from "personascope/data";
import { Chart } from "personascope/chart";
import { NOT_SURELY } from "personascope/doubt";
import { openingTrait } from "personascope/opening";
import { Points } from "personascope/points";
import { Text } from "personascope/text";
import { Traits } from "personascope/traits";

const NONE = -1;

function Writes({ row, layer }) {
  if (!row.writes.length) {
    return html`<p class="done">${["given", "imported"].includes(row.finish)
      ? "This text was given and only read; nothing was written into the model."
      : "Nothing was written: the model is on its own."}</p>`;
  }
  const said = row.writes.map((write) => {
    const size = write.operation === "add" ? `${write.relative ? "relative " : ""}α = ${write.alpha}` : "";
    return `${write.operation} ${write.direction} ${size} on ${write.tokens}`;
  });
  return html`<p class="done">
    Written: <code>${said.join("; ")}</code>.
    ${carries(row, layer) && html` Layer ${layer} lies behind it: its numbers carry what was put in (shaded).`}
  </p>`;
}

function Pane({ row, trait, layer, token, theme, onToken, onTrait }) {
  const last = row.tokens.length - 1;
  const at = Math.max(0, Math.min(token, last));
  const inPrompt = at < row.prompt_length;
  return html`<section class="pane card" data-row=${row.label}>
    <h2>${row.label}</h2>
    <${Writes} row=${row} layer=${layer} />
    ${row.error && html`<p class="done">This row failed: ${row.error}</p>`}
    <${Text} row=${row} trait=${trait} layer=${layer} token=${at} onPick=${onToken} />
    <div class="slide">
      <button aria-label="one token back" onClick=${() => onToken(Math.max(0, at - 1))}>◀</button>
      <input
        type="range" min="0" max=${last} value=${at} aria-label="token"
        onInput=${(event) => onToken(Number(event.target.value))}
      />
      <button aria-label="one token on" onClick=${() => onToken(Math.min(last, at + 1))}>▶</button>
    </div>
    <p class="state" aria-live="polite">
      State after token <b data-figure="token">${at}</b> <code>${visible(row.tokens[at])}</code>
      ${inPrompt ? " (prompt)" : " (response)"}
      ${at < last ? html`; it chooses token ${at + 1} <code>${visible(row.tokens[at + 1])}</code>.` : "; nothing follows."}
    </p>
    <${Traits} row=${row} layer=${layer} token=${at} trait=${trait} onTrait=${onTrait} />
    <${Chart} row=${row} trait=${trait} layer=${layer} token=${at} theme=${theme} onPick=${(t) => onToken(Math.max(0, Math.min(last, t)))} />
    <div>
      <h2>Decision points</h2>
      <${Points} row=${row} onPick=${onToken} />
    </div>
  </section>`;
}

function useKeys(actions) {
  // Before the page is painted: a key that is pressed at once must meet what the last one did.
  useLayoutEffect(() => {
    const press = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
      const action = actions[event.key];
      if (action) {
        event.preventDefault();
        action();
      }
    };
    window.addEventListener("keydown", press);
    return () => window.removeEventListener("keydown", press);
  });
}

export function Watch({ runs, theme }) {
  const rows = useMemo(() => runs.flatMap((run) => run.rows), [runs]);
  const known = useMemo(() => traitsOf(runs), [runs]);
  const traits = known.map((one) => one.name);
  const layers = useMemo(() => [...new Set(runs.flatMap((run) => run.layers))].sort((a, b) => a - b), [runs]);
  const [first, setFirst] = useState(0);
  const [second, setSecond] = useState(runs.length > 1 ? runs[0].rows.length : NONE);
  const shown = second === NONE ? [rows[first]] : [rows[first], rows[second]];
  const opening = useMemo(() => openingTrait(shown, rows, known), [runs]);
  const [trait, setTrait] = useState(opening.name);
  const [layer, setLayer] = useState(opening.read_layer);
  const [token, setToken] = useState(rows[0].prompt_length);
  const [align, setAlign] = useState(true);
  const readLayer = (name) => known.find((one) => one.name === name).read_layer;
  const choose = (name) => {
    setTrait(name);
    setLayer(readLayer(name));
  };
  const step = (list, now, by) => list[(list.indexOf(now) + by + list.length) % list.length];
  const differ = shown.some((row) => row.prompt_length !== shown[0].prompt_length);
  const aligned = differ && align;
  // `token` counts as the first row does; of a row's own tokens it is `token` less its start.
  const starts = shown.map((row) => (aligned ? shown[0].prompt_length - row.prompt_length : 0));
  const points = shown.flatMap((row, side) => row.points.map((point) => point.token + starts[side])).sort((a, b) => a - b);
  const zeroth = Math.min(...starts);
  const last = Math.max(...shown.map((row, side) => row.tokens.length + starts[side])) - 1;
  useKeys({
    ArrowLeft: () => setToken(Math.max(zeroth, token - 1)),
    ArrowRight: () => setToken(Math.min(last, token + 1)),
    ArrowUp: () => choose(step(traits, trait, -1)),
    ArrowDown: () => choose(step(traits, trait, 1)),
    Home: () => setToken(zeroth),
    End: () => setToken(last),
    "[": () => setLayer(step(layers, layer, -1)),
    "]": () => setLayer(step(layers, layer, 1)),
    n: () => setToken(points.find((point) => point > token) ?? token),
    p: () => setToken(points.findLast((point) => point < token) ?? token),
  });
  const names = (blank) => html`
    ${blank && html`<option value=${NONE}>nothing</option>`}
    ${rows.map((row, index) => html`<option value=${index}>${runs.length > 1 ? `${row.run.title}: ` : ""}${row.label}</option>`)}
  `;
  const pick = (index) => {
    setFirst(index);
    setToken(rows[index].prompt_length);
  };
  return html`
    <div class="bar card">
      <label>row <select aria-label="row" value=${first} onChange=${(e) => pick(Number(e.target.value))}>${names(false)}</select></label>
      <label>beside it <select aria-label="beside it" value=${second} onChange=${(e) => setSecond(Number(e.target.value))}>${names(true)}</select></label>
      <label>layer
        <select aria-label="layer" value=${layer} onChange=${(e) => setLayer(Number(e.target.value))}>
          ${layers.map((one) => html`<option value=${one}>${one}${one === readLayer(trait) ? " · read here" : ""}${shown.some((row) => carries(row, one)) ? " (carries a write)" : ""}</option>`)}
        </select>
      </label>
      <label>colour by
        <select aria-label="colour by" value=${trait} onChange=${(e) => choose(e.target.value)}>
          ${known.map(({ name, doubt }) => html`<option value=${name} title=${doubt}>${name.replaceAll("_", " ")}${doubt ? ` · ${NOT_SURELY}` : ""}</option>`)}
        </select>
      </label>
      ${differ && html`<label>
        <input type="checkbox" checked=${align} onChange=${(e) => setAlign(e.target.checked)} /> align at the response
      </label>`}
    </div>
    <div class="panes ${shown.length > 1 ? "two" : ""}">
      ${shown.map(
        (row, side) => html`<${Pane}
          key=${side} row=${row} trait=${trait} layer=${layer} token=${token - starts[side]} theme=${theme}
          onToken=${(own) => setToken(own + starts[side])} onTrait=${choose}
        />`,
      )}
    </div>
    <p class="keys">
      <kbd>←</kbd> <kbd>→</kbd> token · <kbd>↑</kbd> <kbd>↓</kbd> trait · <kbd>[</kbd> <kbd>]</kbd> layer ·
      <kbd>n</kbd> <kbd>p</kbd> next and previous decision point · <kbd>Home</kbd> <kbd>End</kbd> first and last token.
      Value: projection on the trait's direction, in residual-stream units. z: value against the model's own neutral
      responses (prompt and response apart). Cosine: value over the length of the stream.${known.some((one) => one.doubt) && html`${" "}<b>Not surely</b>: at the layer it is read at, the direction tells the trait's poles apart not surely better than chance.`}
    </p>
  `;
}
