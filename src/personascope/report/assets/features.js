// The view of features: which were found, what text fires them, what they promote, where they fire in the prompts.
import { html, useState } from "personascope/preact-htm";
import { digits, harmless, lineColour } from "personascope/data";
import { Lines } from "personascope/lines";

const number = (value) => (value === null || value === undefined ? "–" : digits(Number(value.toPrecision(3))));
const percent = (value) => (value === null || value === undefined ? "–" : `${digits(Number((100 * value).toPrecision(2)))} %`);
const EDGE = 0.02;

function Marked({ tokens, activations, top, peak = -1 }) {
  return html`<span class="marked">${tokens.map((token, place) => {
    const value = activations[place];
    const strength = top > 0 ? Math.min(1, value / top) : 0;
    const style = strength > EDGE ? `background:rgb(var(--high) / ${(0.15 + 0.6 * strength).toFixed(3)})` : "";
    return html`<span class=${place === peak ? "peak" : ""} style=${style} title=${value > 0 ? number(value) : ""}>${harmless(token).replaceAll("\n", "⏎\n")}</span>`;
  })}</span>`;
}

function Overview({ run, chosen, onChoose, order, onOrder }) {
  const hasFound = run.features.some((one) => one.found);
  const hasContrast = run.features.some((one) => one.found && one.found.auroc !== undefined);
  const hasMined = run.features.some((one) => one.mined);
  const head = (key, text) => html`<th aria-sort=${order === key ? "descending" : "none"}><button class="link" onClick=${() => onOrder(key)}>${text}</button></th>`;
  return html`<section class="card pane">
    <h2>Features</h2>
    <div class="matrix tall"><table data-table="features">
      <thead><tr>${head("given", "feature")}${hasFound && head("value", "mean")}
        ${hasContrast && html`<th>difference</th><th>fires on</th><th>control</th>${head("auroc", "AUROC")}<th>p, corrected</th>`}
        ${hasFound && !hasContrast && html`<th>fires on</th>`}
        ${hasMined && html`${head("rate", "rate")}<th>strongest</th>`}<th>promotes</th></tr></thead>
      <tbody>${run.features.map((one, place) => [one, place]).sort(([a], [b]) => keyOf(b, order) - keyOf(a, order)).map(([one, place]) => html`
        <tr key=${one.feature} data-feature=${one.feature} class=${place === chosen ? "chosen" : ""} onClick=${() => onChoose(place)}>
          <td><button class="link" aria-pressed=${place === chosen} onClick=${() => onChoose(place)}>${one.feature}</button>${one.label && html` <small>${one.label}</small>`}</td>
          ${hasFound && html`<td data-figure="value">${number(one.found?.value)}</td>`}
          ${hasContrast && html`<td data-figure="difference">${number(one.found?.difference)}</td><td>${percent(one.found?.share)}</td><td>${percent(one.found?.control_share)}</td>
            <td data-figure="auroc">${number(one.found?.auroc)}</td><td>${number(one.found?.corrected)}</td>`}
          ${hasFound && !hasContrast && html`<td>${percent(one.found?.share)}</td>`}
          ${hasMined && html`<td data-figure="rate">${percent(one.mined?.rate)}</td><td>${number(one.mined?.contexts[0]?.score)}</td>`}
          <td class="words">${one.promoted.slice(0, 5).map(([token]) => token.trim() || "␣").join(" ")}</td>
        </tr>`)}</tbody>
    </table></div>
    <p class="note">${hasContrast ? html`Prompts against controls. Features were chosen on one half of both; all columns but <i>mean</i> are of the other half. p: by ranks (exact up to 120 texts), corrected over the chosen features (Holm). ` : ""}${run.sparsity ? html`${number(run.sparsity.l0)} features active on a token${run.sparsity.promised ? `, promised ${number(run.sparsity.promised)}` : ""}. ${run.sparsity.doubt ? html`<b>Note:</b> ${run.sparsity.doubt}. ` : ""}` : ""}${hasMined ? html`Rate: share of the ${run.tokens.toLocaleString("en")} tokens mined.` : ""}</p>
  </section>`;
}

function keyOf(one, order) {
  if (order === "rate") return one.mined?.rate ?? 0;
  if (order === "given") return 0;
  return one.found?.[order] ?? 0;
}

function Contexts({ one }) {
  const [band, setBand] = useState("top");
  const { contexts, examples } = one.mined;
  const shown = band === "top" ? contexts : examples[Number(band)]?.contexts ?? contexts;
  const top = contexts[0]?.score ?? 0;
  return html`<section class="card pane">
    <h2>Text that fires it
      <label class="switch">strength
        <select aria-label="strength" value=${band} onChange=${(e) => setBand(e.target.value)}>
          <option value="top">the strongest</option>
          ${examples.map((each, place) => html`<option value=${place}>${number(each.from)} to ${number(each.to)}</option>`)}
        </select></label></h2>
    ${shown.length === 0 && html`<p class="note">It never fired in this corpus.</p>`}
    <ol class="examples contexts">${shown.map((each) => html`<li key=${`${each.document}/${each.position}`}>
      <span class="facts"><b data-figure="score">${number(each.score)}</b> · ${each.document}, token ${each.position}</span>
      <div><${Marked} tokens=${each.tokens} activations=${each.activations} top=${top} peak=${each.peak} /></div>
    </li>`)}</ol>
    <p class="note">The darker a token, the stronger the feature after it, from nothing to its strongest; the framed one is the context's peak.</p>
  </section>`;
}

function Strengths({ one, theme }) {
  const { histogram, rate, mean } = one.mined;
  const bars = histogram.edges.map((edge, place) => [Number(edge.toPrecision(3)), histogram.counts[place]]);
  return html`<section class="card pane">
    <h2>How strongly it fires</h2>
    <${Lines} label="histogram of activations" theme=${theme} lines=${[{ name: "tokens", colour: lineColour(0), points: bars }]} xName="activation" yName="tokens" yMin=${0} marked=${null} />
    <p class="note">On ${percent(rate)} of tokens, there ${number(mean)} in the mean. Bins an eighth of an octave wide.</p>
  </section>`;
}

function Tokens({ one }) {
  const side = (words, title) => html`<div><h3>${title}</h3><table><tbody>${words.map(([token, effect]) => html`
    <tr><td><code>${token.replaceAll("\n", "⏎")}</code></td><td>${number(effect)}</td></tr>`)}</tbody></table></div>`;
  if (!one.promoted.length) return null;
  return html`<section class="card pane">
    <h2>What its decoder column does to the next token</h2>
    <div class="sides">${side(one.promoted, "promotes")}${side(one.suppressed, "suppresses")}</div>
    <p class="note">By the logit lens: what the last norm and the output matrix make of the column at length 1, as if no block came between.</p>
  </section>`;
}

function Prompts({ run, one }) {
  const [kind, setKind] = useState("prompts");
  const column = run.traced?.indexOf(one.feature) ?? -1;
  if (column < 0) return null;
  const of = (trace) => trace.activations[column];
  const strongest = (trace) => Math.max(...of(trace));
  const top = Math.max(...run.traces.map(strongest));
  const part = kind === "prompts" ? run.traces.slice(0, run.prompts) : run.traces.slice(run.prompts);
  return html`<section class="card pane">
    <h2>In the prompts
      <label class="switch">show
        <select aria-label="texts" value=${kind} onChange=${(e) => setKind(e.target.value)}>
          <option value="prompts">the ${run.prompts} prompts</option>
          ${run.controls > 0 && html`<option value="controls">the ${run.controls} controls</option>`}
        </select></label></h2>
    <ol class="examples contexts" data-list="prompts">${part.map((trace, place) => html`<li key=${place}>
      <span class="facts"><b>${number(strongest(trace))}</b></span> <${Marked} tokens=${trace.tokens} activations=${of(trace)} top=${top} />
    </li>`)}</ol>
    <p class="note">Read at <code>${run.read_at}</code>; shown on every token.</p>
  </section>`;
}

export function Features({ runs, theme }) {
  const [place, setPlace] = useState(0);
  const run = runs[Math.min(place, runs.length - 1)];
  const [asked, setChosen] = useState(0);
  const [order, setOrder] = useState("given");
  const chosen = Math.min(asked, run.features.length - 1);
  const one = run.features[chosen];
  const choice = runs.length > 1 && html`<div class="bar card"><label>run
      <select aria-label="run" value=${place} onChange=${(e) => setPlace(Number(e.target.value))}>
        ${runs.map((each, index) => html`<option value=${index}>${each.title}</option>`)}
      </select></label></div>`;
  if (!one) return html`${choice}<section class="card pane"><h2>Features</h2><p class="note">No feature fires on the prompts more than on the controls.</p></section>`;
  return html`
    ${choice}
    <div class="panes"><${Overview} run=${run} chosen=${chosen} onChoose=${setChosen} order=${order} onOrder=${setOrder} /></div>
    <h2 class="title" data-chosen=${one.feature}>Feature ${one.feature}${one.label && html`: ${one.label} ${one.label_score !== null && html`<small>(the label tells its contexts from others with AUROC ${number(one.label_score)})</small>`}`}</h2>
    <div class="panes">${one.mined && html`<${Contexts} key=${one.feature} one=${one} />`}<${Prompts} run=${run} one=${one} /></div>
    <div class="panes two">${one.mined && html`<${Strengths} one=${one} theme=${theme} />`}<${Tokens} one=${one} /></div>`;
}
