// The view of a transfer experiment: the verdict, every way of carrying a persona, doses, sweeps, and each generation.
import { html, useState } from "personascope/preact-htm";
import { digits, lineColour } from "personascope/data";
import { Lines } from "personascope/lines";

const number = (value) => (value === null || value === undefined ? "–" : digits(Number(value.toPrecision(3))));
const percent = (value) => (value === null || value === undefined ? "–" : `${digits(Number((100 * value).toPrecision(2)))} %`);
// Of what is of the order of one; a minus as wide as the digits.
const ratio = (value) => (value === null || value === undefined ? "–" : value.toFixed(2).replace(/^-(?=0\.00$)/, "").replace("-", "−"));
const between = (one) => {
  if (!one || one.estimate === null) return "–";
  const mark = one.incoherent.length ? "†" : "";
  return one.low === null ? `${ratio(one.estimate)}${mark}` : html`${ratio(one.estimate)} <small>[${ratio(one.low)}, ${ratio(one.high)}]</small>${mark}`;
};
const likert = (value) => (value === null || value === undefined ? null : 1 + value / 25);
const said = (name) => name.replaceAll("_", " ");
const PLACES = ["source_layer", "target_layer", "texts"];
const isMain = (run, one) => PLACES.every((name) => one[name] === run.main[name]);
// What is looked at together: fourteen lines in one chart are none.
const GROUPS = {
  "ways of carrying": ["zero_pad", "interpolate", "random_proj", "ridge_mapped", "procrustes", "procrustes_whitened", "oracle"],
  controls: ["ridge_mapped", "oracle", "random", "shuffled", "wrong_persona"],
  rivals: ["ridge_mapped", "oracle", "system_prompt", "oracle_1_pair", "oracle_2_pairs", "oracle_5_pairs"],
};
const mean = (values) => (values.length ? values.reduce((sum, one) => sum + one, 0) / values.length : null);

// What a method came to at its chosen α, for one persona or over all of them.
function outcome(run, method, persona) {
  const rows = run.conditions.filter((one) => one.part === "test" && one.is_chosen && one.method === method && (persona === null || one.persona === persona));
  const of = (name) => mean(rows.map((one) => one[name]).filter((one) => one !== null));
  const scored = rows.filter((one) => one.trait !== null && one.coherence !== null);
  const over = (name) => mean(scored.map((one) => one[name]));
  const sum = (name) => rows.reduce((before, one) => before + one[name], 0);
  const vectors = run.geometry.filter((one) => one.method === method && isMain(run, one) && (persona === null || one.persona === persona));
  const found = vectors.map((one) => one.is_retrieved).filter((one) => one !== null);
  return {
    alpha: rows.length === 1 ? rows[0].alpha : null,
    trait: likert(over("trait")), coherence: likert(over("coherence")), collapse: over("collapse"), told: rows.length ? `${sum("told")} of ${sum("judged")}` : "–", perplexity: of("perplexity"), tokens: of("tokens"),
    efficacy: run.efficacies.find((one) => one.method === method && one.persona === persona),
    cosine: mean(vectors.map((one) => one.cosine)), ceiling: mean(vectors.map((one) => one.ceiling).filter((one) => one !== null)),
    retrieved: found.length ? mean(found.map(Number)) : null,
  };
}

function Verdict({ run, persona }) {
  const found = persona === null ? run.verdict : run.verdicts[persona];
  const met = found.criteria_met;
  return html`<section class="card pane">
    <h2>${said(run.source_model)} → ${said(run.target_model)}, layers ${run.main.source_layer} → ${run.main.target_layer}</h2>
    <p data-reading=${found.reading}><b>${found.sentence}</b></p>
    <p class="note">${met === null ? "The mapped vector was not judged" : `The mapped vector meets ${met === "none" ? "no" : `the ${met}`} criteria`} (${found.criteria.map((one) => `${one.name}: coherence ≥ ${one.coherence}, trait ≥ ${one.trait}, collapse < ${percent(one.collapse)}`).join("; ")}).
      ${run.primary && html` Primary endpoint, over all personas: efficacy of the mapped vector at matched coherence, ${between(run.primary)}.`}</p>
    ${found.remarks.map((one) => html`<p class="note">${one}</p>`)}
  </section>`;
}

function Methods({ run, persona, chosen, onChoose }) {
  return html`<section class="card pane">
    <h2>Ways of carrying</h2>
    <div class="matrix"><table data-table="methods">
      <thead><tr><th>method</th><th>α</th><th>trait</th><th>told</th><th>coherence</th><th>collapse</th><th>efficacy</th><th>perplexity</th><th>tokens</th><th>cosine</th><th>ceiling</th><th>retrieval</th></tr></thead>
      <tbody>${run.methods.map((method) => {
        const one = outcome(run, method, persona);
        return html`<tr key=${method} data-method=${method} class=${method === chosen ? "chosen" : ""}>
          <td><button class="link" aria-pressed=${method === chosen} onClick=${() => onChoose(method)}>${said(method)}</button></td>
          <td>${number(one.alpha)}</td><td data-figure="trait">${number(one.trait)}</td><td>${one.told}</td><td>${number(one.coherence)}</td><td>${percent(one.collapse)}</td>
          <td data-figure="efficacy">${between(one.efficacy)}</td><td>${number(one.perplexity)}</td><td>${number(one.tokens)}</td>
          <td>${ratio(one.cosine)}</td><td>${ratio(one.ceiling)}</td><td>${percent(one.retrieved)}</td></tr>`;
      })}</tbody>
    </table></div>
    <p class="note">Test prompts, each method at the α chosen for it on development prompts. Trait and coherence on 1–5; told: responses of which the trait could be told. Efficacy: (method − baseline) / (oracle − baseline) of the trait; intervals resample prompts; †: for some persona the method or the oracle is below a coherence of 3.5 at every α, and its most coherent one is taken. Ceiling: the cosine of the oracle's own halves. Retrieval: whether the nearest of all oracles is the persona's own.</p>
  </section>`;
}

function Tests({ run }) {
  if (!run.tests.length) return null;
  return html`<section class="card pane">
    <h2>All other comparisons</h2>
    <div class="matrix"><table data-table="tests"><thead><tr><th>method</th><th>against</th><th>difference</th><th>p</th><th>corrected</th></tr></thead>
      <tbody>${run.tests.map((one) => html`<tr><td>${said(one.method)}</td><td>${said(one.against)}</td>
        <td>${one.difference > 0 ? "+" : ""}${one.difference.toFixed(1).replace("-", "−")}</td><td>${one.p.toFixed(3)}</td><td>${one.corrected.toFixed(3)}</td></tr>`)}</tbody></table></div>
    <p class="note">The trait, 0–100, prompt by prompt over personas, each method at the α chosen for it; p by sign flips, corrected over all of them by Holm's method.</p>
  </section>`;
}

function Truth({ run, persona }) {
  if (!run.truth) return null;
  const told = (method) => (persona === null ? ["median", "least", "most"].map((name) => run.truth.spread[method]?.[name]) : [run.truth.efficacies[method][persona]]);
  return html`<section class="card pane">
    <h2>Against the planted truth</h2>
    <div class="matrix"><table data-table="truth"><thead><tr><th>method</th>${(persona === null ? ["median", "least", "most"] : ["efficacy"]).map((name) => html`<th>${name}</th>`)}</tr></thead>
      <tbody>${Object.keys(run.truth.efficacies).map((method) => html`<tr><td>${said(method)}</td>${told(method).map((one) => html`<td>${ratio(one)}</td>`)}</tr>`)}</tbody></table></div>
    <p class="note">Efficacy by the share of ${persona === null ? "a persona's" : "the persona's"} own words, at the largest α at which the oracle keeps 0.6 of its sentences well-formed.</p>
  </section>`;
}

function Maps({ run, persona, theme }) {
  // The map of shuffled pairs is scored on shuffled pairs.
  const maps = run.maps.filter((one) => one.kind !== "shuffled" && (one.persona === null || one.persona === persona));
  if (!maps.length) return null;
  const reduced = maps.find((one) => one.kind === "reduced_rank");
  return html`<section class="card pane">
    <h2>The map${maps[0].persona === null ? "" : ` without ${said(persona)}`}</h2>
    <div class="matrix"><table data-table="map"><thead><tr><th>components</th><th>share</th>${maps.map((one) => html`<th>${said(one.kind)}</th>`)}<th>shuffled pairs</th><th>random map</th></tr></thead>
      <tbody>${maps[0].bands.map((band, place) => html`<tr><td>${band.first}–${band.last}</td><td>${percent(band.share)}</td>
        ${maps.map((one) => html`<td>${ratio(one.bands[place].r2)}</td>`)}<td>${ratio(band.shuffled_r2)}</td><td>${ratio(band.random_r2)}</td></tr>`)}</tbody></table></div>
    <${Lines} label="singular values" theme=${theme} lines=${maps.map((one, place) => ({ name: said(one.kind), colour: lineColour(place), points: one.spectrum.map((value, index) => [index + 1, value]) }))} xName="number" yName="singular value" yMin=${0} marked=${null} />
    ${reduced?.choice_r2 && html`<${Lines} label="R² by rank" theme=${theme} lines=${[{ name: "ridge cut down to a rank", colour: lineColour(0), points: reduced.ranks.map((rank, place) => [rank, reduced.choice_r2[place]]) }]} xName="rank" yName="held-out R²" marked=${reduced.rank} />`}
    ${maps.flatMap((one) => one.doubts.map((doubt) => html`<p class="note">${said(one.kind)}: ${doubt}.</p>`))}
    <p class="note">R² on texts that were not fitted on, by principal components of the target, the largest first; controls: of ${said(maps[0].kind)}. Below, the singular values of each map${reduced ? html`, and R² of ridge cut down to few dimensions: the best is rank ${reduced.rank}` : ""}.</p>
  </section>`;
}

function Curves({ run, persona, group, theme }) {
  const rows = (method) => run.conditions.filter((one) => one.part === "test" && isMain(run, one) && one.persona === persona && one.method === method).sort((a, b) => a.alpha - b.alpha);
  const steered = run.methods.filter((method) => GROUPS[group].includes(method) && rows(method).length);
  const start = rows("baseline");
  const doses = (name) => steered.filter((method) => method !== "system_prompt").map((method) => ({
    name: said(method), colour: lineColour(run.methods.indexOf(method)), dashed: ["random", "shuffled", "wrong_persona"].includes(method),
    points: [...start, ...rows(method)].filter((one) => one[name] !== null).map((one) => [one.alpha, one[name]]),
    band: !["ridge_mapped", "oracle"].includes(method) ? [] : rows(method).filter((one) => one[`${name}_interval`]).map((one) => [one.alpha, ...one[`${name}_interval`]]),
  }));
  const ways = steered.map((method) => ({
    name: said(method), colour: lineColour(run.methods.indexOf(method)),
    points: [...start, ...rows(method)].filter((one) => one.trait !== null && one.coherence !== null).map((one) => [likert(one.trait), likert(one.coherence)]),
  }));
  return html`<div class="panes two">
    <section class="card pane"><h2>Coherence against trait</h2>
      <${Lines} label="coherence against trait" theme=${theme} lines=${ways} xName="trait" xMin=${1} xMax=${5} yName="coherence" yMin=${1} yMax=${5} marked=${2.5} />
      <p class="note">From the baseline on, α by α; both on 1–5.</p></section>
    <section class="card pane"><h2>Dose and response</h2>
      <${Lines} label="trait by dose" theme=${theme} lines=${doses("trait")} xName="α" yName="trait" yMin=${0} yMax=${100} marked=${null} />
      <${Lines} label="coherence by dose" theme=${theme} lines=${doses("coherence")} xName="α" yName="coherence" yMin=${0} yMax=${100} marked=${null} /></section>
  </div>`;
}

function Sweep({ run, persona, theme, kind }) {
  const fixed = kind === "texts" ? ["source_layer", "target_layer"] : ["texts"];
  const rows = run.conditions.filter((one) => one.part === "test" && one.persona === persona && fixed.every((name) => one[name] === run.main[name]));
  const swept = rows.filter((one) => !isMain(run, one));
  if (!swept.length) return null;
  const doses = [...new Set(swept.map((one) => `${one.method} ${one.alpha}`))];
  const settings = [...new Set(rows.filter((one) => doses.includes(`${one.method} ${one.alpha}`)).map((one) => (kind === "texts" ? one.texts : `${one.source_layer} → ${one.target_layer}`)))];
  if (kind === "texts") settings.sort((a, b) => a - b);
  else settings.sort();
  const at = (setting, dose) => rows.find((one) => `${one.method} ${one.alpha}` === dose && (kind === "texts" ? one.texts : `${one.source_layer} → ${one.target_layer}`) === setting);
  return html`<section class="card pane">
    <h2>${kind === "texts" ? "How many training texts" : "Which layers"}</h2>
    <div class="matrix"><table data-table=${`sweep ${kind}`}>
      <thead><tr><th>${kind === "texts" ? "texts" : "source → target"}</th>${doses.map((dose) => html`<th>${said(dose.split(" ")[0])}, α = ${dose.split(" ")[1]}</th>`)}</tr></thead>
      <tbody>${settings.map((setting) => html`<tr key=${setting}><td>${kind === "texts" ? setting.toLocaleString("en") : setting}</td>
        ${doses.map((dose) => html`<td>${number(at(setting, dose)?.trait)}</td>`)}</tr>`)}</tbody>
    </table></div>
    ${kind === "texts" && html`<${Lines} label="trait by training texts" theme=${theme} lines=${doses.map((dose, place) => ({
      name: said(dose.split(" ")[0]), colour: lineColour(place), points: settings.filter((one) => at(one, dose)).map((one) => [one, at(one, dose).trait]),
    }))} xName="texts" yName="trait" yMin=${0} yMax=${100} marked=${null} />`}
    <p class="note">Trait, 0–100, of the test prompts.</p>
  </section>`;
}

function Similar({ run }) {
  if (!run.cka) return null;
  return html`<section class="card pane">
    <h2>Layers that hold the same</h2>
    <div class="matrix"><table data-table="cka"><thead><tr><th>source \\ target</th>${run.cka[0].map((_, place) => html`<th>${place}</th>`)}</tr></thead>
      <tbody>${run.cka.map((row, place) => html`<tr><th scope="row">${place}</th>${row.map((value, column) => html`
        <td class=${place === run.main.source_layer && column === run.main.target_layer ? "peak" : ""} style="background:rgb(var(--high) / ${(0.7 * value).toFixed(3)})">${value === null ? "" : value.toFixed(2)}</td>`)}</tr>`)}</tbody></table></div>
    <p class="note">Linear CKA of the differences of contrast pairs.</p>
  </section>`;
}

function Generations({ run, persona, method }) {
  const options = run.response_conditions.map((key, place) => ({ place, persona: key[0], method: key[1], alpha: key[2], source_layer: key[3], target_layer: key[4], texts: key[5], part: key[6] }))
    .filter((one) => (one.persona === persona || one.persona === null) && one.method === method)
    .sort((a, b) => Number(a.part !== "test") - Number(b.part !== "test") || Number(isMain(run, b)) - Number(isMain(run, a)) || a.alpha - b.alpha);
  const best = run.chosen.find((one) => one.persona === persona && one.method === method);
  const [asked, setAsked] = useState(null);
  const chosen = options.find((one) => one.place === asked) ?? options.find((one) => isMain(run, one) && one.alpha === best?.alpha) ?? options[0];
  if (!chosen) return null;
  // A response of the baseline stands once for each persona it was scored for.
  const shown = [...new Map(run.responses.filter((one) => one[0] === chosen.place).map((one) => [`${one[1]}/${one[2]}`, one])).values()];
  const named = (one) => `α = ${number(one.alpha)}${isMain(run, one) ? "" : `, layers ${one.source_layer} → ${one.target_layer}, ${one.texts} texts`}${one.part === "test" ? "" : ", development prompts"}`;
  return html`<section class="card pane">
    <h2>Generations: ${said(method)}
      <label class="switch">at <select aria-label="condition" value=${chosen.place} onChange=${(e) => setAsked(Number(e.target.value))}>
        ${options.map((one) => html`<option value=${one.place}>${named(one)}</option>`)}
      </select></label></h2>
    <ol class="examples" data-list="generations">${shown.map((one) => html`<li key=${`${one[1]}/${one[2]}`}>
      <span class="facts"><span class="question">${run.prompts[one[1]]}</span> · ${run.response_figures.map((name, place) => `${name} ${number(one[4 + place])}`).join(" · ")}</span>
      <div>${one[3]}</div></li>`)}</ol>
    ${run.left_out > 0 && html`<p class="note">The first responses of each condition; all of them are in generation_results.json.</p>`}
  </section>`;
}

export function Transfer({ runs, theme }) {
  const [place, setPlace] = useState(0);
  const run = runs[Math.min(place, runs.length - 1)];
  const [asked, setPersona] = useState("");
  const persona = run.personas.includes(asked) ? asked : null;
  const [method, setMethod] = useState("ridge_mapped");
  const groups = Object.keys(GROUPS).filter((name) => GROUPS[name].some((one) => run.methods.includes(one)));
  const [group, setGroup] = useState(groups[0]);
  const shown = persona ?? run.personas[0];
  const chosen = run.methods.includes(method) ? method : run.methods[0];
  return html`<div class="bar card">
      ${runs.length > 1 && html`<label>run <select aria-label="run" value=${place} onChange=${(e) => setPlace(Number(e.target.value))}>
        ${runs.map((each, index) => html`<option value=${index}>${each.title}</option>`)}</select></label>`}
      <label>persona <select aria-label="persona" value=${persona ?? ""} onChange=${(e) => setPersona(e.target.value)}>
        <option value="">all of them</option>${run.personas.map((name) => html`<option value=${name}>${said(name)}</option>`)}
      </select></label>
    </div>
    <div class="panes"><${Verdict} run=${run} persona=${persona} /><${Methods} run=${run} persona=${persona} chosen=${chosen} onChoose=${setMethod} /></div>
    <div class="panes two"><${Tests} run=${run} /><${Truth} run=${run} persona=${persona} /><${Maps} run=${run} persona=${shown} theme=${theme} /><${Similar} run=${run} /></div>
    <h2 class="title">${said(shown)} <label class="switch">show
      <select aria-label="methods" value=${group} onChange=${(e) => setGroup(e.target.value)}>${groups.map((name) => html`<option value=${name}>${name}</option>`)}</select></label></h2>
    <${Curves} key=${group} run=${run} persona=${shown} group=${group} theme=${theme} />
    <div class="panes two"><${Sweep} run=${run} persona=${shown} theme=${theme} kind="layers" /><${Sweep} run=${run} persona=${shown} theme=${theme} kind="texts" /></div>
    <div class="panes"><${Generations} key=${`${shown}/${chosen}`} run=${run} persona=${shown} method=${chosen} /></div>`;
}
