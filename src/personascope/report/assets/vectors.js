// The vectors view: how good a persona's directions are, layer by layer, and what steering with them does.
import { html, useLayoutEffect, useState } from "personascope/preact-htm";
import { digits, lineColour } from "personascope/data";
import { Lines } from "personascope/lines";
import { Matrix } from "personascope/matrix";

const said = (name) => name.replaceAll("_", " ");
const SPLITS = ["extract", "choose", "report"];
const QUALITY = [
  ["auroc", "whole responses", "auroc_interval"],
  ["token_auroc", "single tokens"],
  ["auroc_length_matched", "lengths matched", "auroc_length_matched_interval"],
  ["auroc_without_common", "without what all share", "auroc_without_common_interval"],
  ["split_half_cosine", "cosine of split halves", "split_half_cosine_interval"],
];
const EFFECTS = [
  ["cohens_d", "Cohen's d"],
  ["cohens_d_length_matched", "Cohen's d, lengths matched"],
  ["cohens_d_without_common", "Cohen's d, without what all share"],
];

// Numbers of a column have as many decimals.
const unit = (number) => number.toFixed(3);
const score = (number) => number.toFixed(1);

function range(interval, say) {
  return interval ? html` <small>[${say(interval[0])}, ${say(interval[1])}]</small>` : null;
}

function qualityLines(one) {
  const layers = Object.keys(one.layers).map(Number);
  const lines = QUALITY.map(([key, name], index) => ({
    name,
    colour: lineColour(index),
    points: layers.filter((layer) => one.layers[layer][key] !== undefined).map((layer) => [layer, one.layers[layer][key]]),
    // One band: several would lie over each other. The table has the others.
    band: key === "auroc" && layers.map((layer) => [layer, ...one.layers[layer].auroc_interval]),
  }));
  lines.push({
    name: "labels shuffled (95th percentile)", colour: "#888888", dashed: true,
    points: layers.map((layer) => [layer, one.layers[layer].auroc_null]),
  });
  return lines.filter((line) => line.points.length);
}

/** The least number of some lines, down to a fifth. */
function lowest(lines) {
  return Math.floor(5 * Math.min(...lines.flatMap((line) => line.points.map(([, y]) => y)))) / 5;
}

function doseLines(one, layer) {
  const doses = one.choices.doses.filter((dose) => dose.layer === layer || dose.alpha === 0).sort((a, b) => a.alpha - b.alpha);
  return ["trait", "coherence"].map((name, index) => ({
    name, colour: lineColour(index),
    points: doses.map((dose) => [dose.alpha, dose[name]]),
    band: doses.map((dose) => [dose.alpha, ...dose[`${name}_interval`]]),
  }));
}

function Counts({ one }) {
  if (!one.sampled) return null;
  return html`<table data-table="counts">
    <thead><tr><th>rollouts kept of sampled</th><th>positive</th><th>negative</th></tr></thead>
    <tbody>
      ${SPLITS.map((split) => html`<tr key=${split} data-split=${split}>
        <td>${split}</td>
        ${["pos", "neg"].map((pole) => html`<td data-pole=${pole}>${one.kept[split][pole]} of ${one.sampled[split][pole]}</td>`)}
      </tr>`)}
    </tbody>
  </table>`;
}

function Steering({ one }) {
  const { steering, steer_layer: layer, alpha, steer_reason: why } = one.choices;
  if (!steering) return html`<p class="note">No steering was chosen: that needs a judge.</p>`;
  const rows = [
    ["nothing done", steering.unsteered],
    [`steered at layer ${layer}, α = ${alpha}`, steering.steered],
    ["rival: asked by system prompt", steering.system_prompt],
  ];
  return html`
    <p data-said="dose">${one.steers_surely !== false
      ? html`<b>Steer at layer ${layer} with α = ${alpha}</b>`
      : html`<b>The dose chosen does not surely bring the trait out</b>, layer ${layer} with α = ${alpha}`}: ${why}.</p>
    <table data-table="steering">
      <thead><tr><th>on the questions kept for reporting</th><th>trait</th><th>coherence</th><th>n</th></tr></thead>
      <tbody>
        ${rows.filter(([, row]) => row).map(([name, row]) => html`<tr key=${name}>
          <td>${name}</td>
          <td data-figure="trait">${score(row.trait)}${range(row.trait_interval, score)}</td>
          <td>${score(row.coherence)}${range(row.coherence_interval, score)}</td>
          <td>${row.n}</td>
        </tr>`)}
      </tbody>
    </table>
    <p class="done">
      ${steering.wrong_way !== null && steering.wrong_way !== undefined
        ? html`Questions whose responses moved the wrong way: <b data-figure="wrong_way">${digits(100 * steering.wrong_way)} %</b>. `
        : null}
      ${steering.neutral.kl !== null && html`On neutral questions it moves the next token's distribution by
      <b data-figure="kl"> ${unit(steering.neutral.kl)}</b>${range(steering.neutral.kl_interval, unit)} nats a token (KL).`}
    </p>`;
}

function Examples({ one }) {
  const [pole, setPole] = useState("pos");
  const shown = one.examples.filter((example) => example.pole === pole);
  if (!one.examples.length) return null;
  return html`<section class="card pane">
    <h2>Rollouts, highest and lowest on the direction
      <span class="switch">
        ${[["pos", "asked for it"], ["neg", "asked for the opposite"]].map(
          ([key, name]) => html`<button aria-pressed=${pole === key} onClick=${() => setPole(key)}>${name}</button>`,
        )}
      </span>
    </h2>
    <ul class="examples">
      ${shown.map((example, index) => html`<li key=${index} class=${example.kept ? "" : "fell"}>
        <div class="facts">
          projection <b>${digits(example.projection)}</b>
          ${example.trait !== null && html`${" · trait "}<b>${digits(example.trait)}</b>`}
          ${example.coherence !== null && html`${" · coherence "}<b>${digits(example.coherence)}</b>`}
          ${` · ${example.kept ? "kept" : "filtered out"} · ${example.split}`}
        </div>
        <div class="question">${example.question}</div>
        <div>${example.answer || "(empty)"}</div>
      </li>`)}
    </ul>
  </section>`;
}

export function Vectors({ runs, theme }) {
  const groups = runs.flatMap((run) => run.groups.map((group) => ({ ...group, title: runs.length > 1 ? `${run.title}: ${group.tokens}` : group.tokens })));
  const [place, setPlace] = useState(0);
  const group = groups[place];
  const names = group.personas.map((one) => one.name);
  const [name, setName] = useState(names[0]);
  const one = group.personas.find((each) => each.name === name) ?? group.personas[0];
  const layers = Object.keys(one.layers).map(Number);
  const [picked, setLayer] = useState(one.choices.read_layer);
  const layer = layers.includes(picked) ? picked : one.choices.read_layer;
  const dosed = [...new Set((one.choices.doses ?? []).filter((dose) => dose.alpha > 0).map((dose) => dose.layer))].sort((a, b) => a - b);
  const [asked, setDosed] = useState(null);
  const doseLayer = dosed.includes(asked) ? asked : one.choices.steer_layer;
  const step = (list, now, by) => list[(list.indexOf(now) + by + list.length) % list.length];
  const choose = (next) => {
    setName(next);
    setDosed(null);
  };
  // Before the page is painted: a key that is pressed at once must meet what the last one did.
  useLayoutEffect(() => {
    const press = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
      const actions = {
        ArrowUp: () => choose(step(names, one.name, -1)),
        ArrowDown: () => choose(step(names, one.name, 1)),
        "[": () => setLayer(step(layers, layer, -1)),
        "]": () => setLayer(step(layers, layer, 1)),
      };
      if (actions[event.key]) {
        event.preventDefault();
        actions[event.key]();
      }
    };
    window.addEventListener("keydown", press);
    return () => window.removeEventListener("keydown", press);
  });
  const now = one.layers[layer];
  const quality = qualityLines(one);
  return html`
    <div class="bar card">
      ${groups.length > 1 && html`<label>tokens
        <select aria-label="tokens" value=${place} onChange=${(e) => setPlace(Number(e.target.value))}>
          ${groups.map((each, index) => html`<option value=${index}>${each.title}</option>`)}
        </select></label>`}
      <label>persona
        <select aria-label="persona" value=${one.name} onChange=${(e) => choose(e.target.value)}>
          ${names.map((each) => html`<option value=${each}>${said(each)}</option>`)}
        </select></label>
      <label>layer
        <select aria-label="layer" value=${layer} onChange=${(e) => setLayer(Number(e.target.value))}>
          ${layers.map((each) => html`<option value=${each}>${each}${each === one.choices.read_layer ? " (chosen for reading)" : ""}</option>`)}
        </select></label>
      <span class="note">${one.positive_pole}</span>
    </div>
    ${one.doubts?.length ? html`<div class="card pane doubts" role="note"><h2>Before relying on it</h2>
      <ul>${one.doubts.map((doubt) => html`<li key=${doubt}>${doubt[0].toUpperCase() + doubt.slice(1)}.</li>`)}</ul></div>` : null}
    <div class="panes two">
      <section class="card pane">
        <h2>Reading</h2>
        <p data-said="reading">${one.reads_surely !== false
          ? html`<b>Read at layer ${one.choices.read_layer}</b>`
          : html`<b>The layer chosen does not surely read better than chance</b>, layer ${one.choices.read_layer}`}${one.choices.read_reason ? `: ${one.choices.read_reason}` : ""}.</p>
        <${Lines} label="quality by layer" theme=${theme} lines=${quality} xName="layer" yName="" yMin=${Math.min(0, lowest(quality))} yMax=${1} marked=${layer} />
        <table data-table="quality">
          <thead><tr><th>at layer ${layer}</th><th></th></tr></thead>
          <tbody>
            ${QUALITY.filter(([key]) => now[key] !== undefined).map(([key, label, interval]) => html`<tr key=${key}>
              <td>${key.includes("auroc") ? "AUROC, " : ""}${label}</td>
              <td data-figure=${key}>${unit(now[key])}${range(now[interval], unit)}</td>
            </tr>`)}
            <tr><td>AUROC with labels shuffled, 95th percentile</td><td>${unit(now.auroc_null)}</td></tr>
            ${EFFECTS.filter(([key]) => now[key] !== undefined).map(([key, label]) => html`<tr key=${key}>
              <td>${label}</td>
              <td data-figure=${key}>${score(now[key])}${range(now[`${key}_interval`], score)}</td>
            </tr>`)}
            <tr><td>cosine to the unfiltered direction</td><td>${unit(now.unfiltered_cosine)}</td></tr>
            ${now.common_share !== undefined && html`<tr><td>share of its squared length that lies along what the others have in common</td><td>${unit(now.common_share)}</td></tr>`}
          </tbody>
        </table>
        <${Counts} one=${one} />
      </section>
      <section class="card pane">
        <h2>Steering</h2>
        <${Steering} one=${one} />
        ${dosed.length > 0 && html`
          <label class="note">doses tried at layer${" "}
            <select aria-label="doses tried at layer" value=${doseLayer} onChange=${(e) => setDosed(Number(e.target.value))}>
              ${dosed.map((each) => html`<option value=${each}>${each}${each === one.choices.steer_layer ? " (chosen)" : ""}</option>`)}
            </select></label>
          <${Lines} label="trait and coherence by α" theme=${theme} lines=${doseLines(one, doseLayer)} xName="α" yName="score" yMin=${0} yMax=${100}
            marked=${doseLayer === one.choices.steer_layer ? one.choices.alpha : null} />`}
      </section>
    </div>
    ${group.relations && html`<div class="panes two">
      <section class="card pane">
        <h2>Selectivity at layer ${layer}</h2>
        <p class="note">AUROC of the row's direction between rollouts of its own persona and of the column's; on the diagonal, against its own negative pole. 0.5 cannot tell them apart.</p>
        <${Matrix} figure="selectivity" names=${group.relations.names} table=${group.relations.selectivity[layer]} centre=${0.5} reach=${0.5} chosen=${one.name} onPick=${choose} />
      </section>
      <section class="card pane">
        <h2>Cosines at layer ${layer}</h2>
        <p class="note">Between the directions of every two personas.</p>
        <${Matrix} figure="cosines" names=${group.relations.names} table=${group.relations.cosines[layer]} centre=${0} reach=${1} chosen=${one.name} onPick=${choose} />
      </section>
    </div>`}
    <${Examples} key=${one.name} one=${one} />
    <p class="keys">
      <kbd>↑</kbd> <kbd>↓</kbd> persona · <kbd>[</kbd> <kbd>]</kbd> layer. Directions are made from one part of the questions (and of
      the instructions, where the rollouts were sampled here), layers and doses chosen on a second, and every figure here measured on a third. Intervals are 95 % and
      resample questions; those of split halves leave out one question at a time.
    </p>
  `;
}
