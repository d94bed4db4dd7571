// Puts a page together from the runs it holds.
import { html, render, useState } from "personascope/preact-htm";
import { readRuns } from "personascope/data";
import { Watch } from "personascope/watch";

const THEMES = ["auto", "light", "dark"];

function App({ runs }) {
  const [theme, setTheme] = useState("auto");
  const turn = () => {
    const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    setTheme(next);
  };
  return html`<main>
    <header>
      <h1>Personascope</h1>
      <span class="facts">${runs.map((run) => run.facts).join(" · against · ")}</span>
      <button onClick=${turn} aria-label="colours: ${theme}">${theme}</button>
    </header>
    <${Watch} runs=${runs} theme=${theme} />
  </main>`;
}

const plain = JSON.parse(document.getElementById("runs").textContent);
render(html`<${App} runs=${readRuns(plain)} />`, document.getElementById("app"));
document.documentElement.dataset.ready = "yes";
