// The mark of a trait whose direction reads not surely better than chance.
import { html } from "personascope/preact-htm";

export const NOT_SURELY = "not surely";

/** trait: as the run holds it, with the sentence that says why in `doubt`, if there is one. */
export function Doubt({ trait }) {
  if (!trait?.doubt) return null;
  return html`<small class="doubt" title="${trait.name}: ${trait.doubt}">${NOT_SURELY}</small>`;
}
