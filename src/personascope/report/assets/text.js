// A row's tokens, coloured by a trait. Built once and then changed in place: thousands of tokens stay quick.
import { html, useEffect, useRef } from "personascope/preact-htm";
import { harmless, reading } from "personascope/data";

const STRONG = 4;

function colour(z) {
  const strength = Math.min(Math.abs(z) / STRONG, 1) * 0.75;
  return `rgb(var(${z >= 0 ? "--high" : "--low"}) / ${strength.toFixed(3)})`;
}

/** A z of the legend; beyond its ends the colour stays. */
function said(z) {
  const bound = z === STRONG ? " and more" : z === -STRONG ? " and less" : "";
  return `${z < 0 ? "−" : z > 0 ? "+" : ""}${Math.abs(z)}${bound}`;
}

function heading(text) {
  const part = document.createElement("span");
  part.className = "part";
  part.textContent = text;
  return part;
}

function build(box, row, onPick) {
  const spans = [];
  const points = new Set(row.points.map((point) => point.token));
  const pieces = [heading("prompt")];
  row.tokens.forEach((token, t) => {
    if (t === row.prompt_length) pieces.push(heading("response"));
    const span = document.createElement("span");
    span.className = `tok${t < row.prompt_length ? " prompt" : ""}${points.has(t) ? " point" : ""}`;
    span.textContent = harmless(token);
    span.addEventListener("click", () => onPick(t));
    spans.push(span);
    pieces.push(span);
  });
  box.replaceChildren(...pieces);
  return spans;
}

export function Text({ row, trait, layer, token, onPick }) {
  const box = useRef(null);
  const spans = useRef([]);
  useEffect(() => {
    spans.current = build(box.current, row, onPick);
  }, [row]);
  useEffect(() => {
    spans.current.forEach((span, t) => {
      const now = reading(row, trait, layer, t);
      span.style.backgroundColor = now ? colour(now.z) : "";
    });
  }, [row, trait, layer]);
  useEffect(() => {
    const now = spans.current[token];
    const next = spans.current[token + 1];
    now?.classList.add("now");
    next?.classList.add("next");
    if (now) {
      const top = now.offsetTop - box.current.clientHeight / 2;
      if (Math.abs(top - box.current.scrollTop) > box.current.clientHeight / 3) box.current.scrollTop = top;
    }
    return () => {
      now?.classList.remove("now");
      next?.classList.remove("next");
    };
  }, [row, token]);
  return html`<div>
    <div class="text" ref=${box} tabindex="0" aria-label="tokens, coloured by ${trait} at layer ${layer}"></div>
    <p class="note legend">z of ${trait.replaceAll("_", " ")} at layer ${layer}:
      ${[-STRONG, -STRONG / 2, 0, STRONG / 2, STRONG].map((z) => html` <span style="background:${colour(z)}">${said(z)}</span>`)}
    </p>
  </div>`;
}
