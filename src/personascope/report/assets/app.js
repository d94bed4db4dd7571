// Puts a page together from the runs it holds.
import { html, render, useState } from "personascope/preact-htm";
import { readRuns } from "personascope/data";
import { Features } from "personascope/features";
import { Insertion } from "personascope/insertion";
import { Persistence } from "personascope/persistence";
import { Transfer } from "personascope/transfer";
import { Vectors } from "personascope/vectors";
import { Watch } from "personascope/watch";

const THEMES = ["auto", "light", "dark"];
const VIEWS = { watch: ["tokens", Watch], vectors: ["directions", Vectors], persistence: ["persistence", Persistence], insertion: ["insertion", Insertion], features: ["features", Features], transfer: ["transfer", Transfer] };

/** What is said of the runs shown: of several each by its name, of which model only where they differ. */
function facts(runs) {
  if (runs.length === 1) return `${runs[0].model} · ${runs[0].details}`;
  const same = runs.every((run) => run.model === runs[0].model);
  const each = runs.map((run) => `${run.title} (${same ? "" : `${run.model} · `}${run.details})`);
  return `${same ? `${runs[0].model} · ` : ""}${each.join(" against ")}`;
}

function App({ runs }) {
  const [theme, setTheme] = useState("auto");
  const kinds = [...new Set(runs.map((run) => run.view))];
  const [kind, setKind] = useState(kinds[0]);
  const shown = runs.filter((run) => run.view === kind);
  const turn = () => {
    const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    setTheme(next);
  };
  return html`<main>
    <header>
      <h1>Personascope</h1>
      <span class="facts">${facts(shown)}</span>
      ${kinds.length > 1 && html`<nav aria-label="view">
        ${kinds.map((each) => html`<button aria-pressed=${each === kind} onClick=${() => setKind(each)}>${VIEWS[each][0]}</button>`)}
      </nav>`}
      <button onClick=${turn} aria-label="colours: ${theme}">${theme}</button>
    </header>
    <${VIEWS[kind][1]} runs=${shown} theme=${theme} />
  </main>`;
}

const plain = JSON.parse(document.getElementById("runs").textContent);
render(html`<${App} runs=${readRuns(plain)} />`, document.getElementById("app"));
document.documentElement.dataset.ready = "yes";
