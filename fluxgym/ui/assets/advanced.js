// Advanced: the card's title with what was changed, search, groups, "Changed only", and back to the defaults. The fields stay where Gradio
// put them; they are only hidden.

import { attribute, fill, h, keyed, put } from "./dom.js";
import { fieldElement, settingsTable } from "./fields.js";
import { putBack, send } from "./form.js";
import { icon } from "./icons.js";
import { notice } from "./notices.js";
import { plural } from "./text.js";

/** @import { FormShown } from "./form.js" */
/** @import { ChangedSetting, FieldText, FormAnswer } from "./types.js" */

const ALL = "All";
const MAX_CHIPS = 3;
/** @param {string | boolean | null} value */
const shown = (value) => (value === "" || value === null ? "empty" : value === true ? "on" : value === false ? "off" : String(value));

class Advanced {
  /** @type {HTMLElement} */
  chips;
  /** @type {HTMLElement} */
  found;
  /** @type {HTMLElement} */
  resetText;
  /** @type {HTMLElement} */
  groups;
  /** @type {HTMLInputElement} */
  words;
  /** @type {HTMLInputElement} */
  only;
  /** @type {HTMLButtonElement} */
  toggle;
  /** @type {HTMLButtonElement} */
  reset;

  /** @type {ChangedSetting[]} */
  changed = [];

  /**
   * @param {HTMLElement} element
   * @param {Record<string, FieldText>} table
   */
  constructor(element, table) {
    this.card = /** @type {HTMLElement} */ (document.getElementById("advanced"));
    this.table = Object.fromEntries(Object.entries(table).filter(([, row]) => row.section));
    this.group = ALL;
    this.chips = h("span", { class: "line end fg-chips" });
    this.toggle = h("button", { type: "button", class: "fg-adv-button", "aria-expanded": "false", "aria-controls": "fg-advanced-content",
      onclick: () => this.open(this.toggle.getAttribute("aria-expanded") !== "true") }, icon("chev", "i chev"), h("span", {}, "Advanced"));
    fill(element, h("header", { class: "card-head fg-advanced-head" }, h("h2", {}, this.toggle), this.chips));
    element.addEventListener("click", (event) => event.target instanceof Element && event.target.closest("button") || this.toggle.click()); // the whole line folds
    this.addTools();
    document.addEventListener("fg:reveal", (event) => this.reveal(event.detail));
    document.addEventListener("fg:form", (event) => this.show(event.detail));
    this.filter();
  }

  /** Add search, the switch and the button above the fields, and the slot of the groups beside them. */
  addTools() {
    const count = Object.keys(this.table).length;
    this.words = h("input", { type: "search", class: "in s", "aria-label": "Search settings", placeholder: `Search ${count} settings: name, flag, or meaning`, oninput: () => this.filter() });
    this.only = h("input", { type: "checkbox", role: "switch", onchange: () => this.filter() });
    this.found = h("span", { class: "small faint grow", "aria-live": "polite" });
    this.resetText = h("span", {});
    this.reset = h("button", { type: "button", class: "btn s quiet", onclick: () => send("reset", { names: this.changed.map(({ name }) => name) }) }, icon("undo"), this.resetText);
    const search = h("div", { class: "search grow" }, icon("search"), this.words);
    const only = h("label", { class: "check switch" }, this.only, "Changed only");
    const [tools, side] = ["tools", "groups"].map((name) => /** @type {HTMLElement} */ (document.getElementById(`fg-advanced-${name}`)));
    fill(tools, h("div", { class: "line fg-adv-tools" }, search, only, this.found, this.reset));
    this.groups = h("div", { class: "side", role: "group", "aria-label": "Groups of settings" });
    fill(side, this.groups);
  }

  /** @param {boolean} isOpen */
  open(isOpen) {
    attribute(this.toggle, "aria-expanded", String(isOpen));
    attribute(this.card, "data-open", isOpen ? "" : null);
  }

  /**
   * Unfold the card and show a field that a filter hides.
   * @param {string} name
   */
  reveal(name) {
    this.open(true);
    if (!fieldElement(name)?.hidden) return;
    this.words.value = "";
    this.only.checked = false;
    this.group = ALL;
    this.filter();
  }

  /**
   * Return true if a setting matches the search and the switch.
   * @param {string} name
   * @param {FieldText} row
   */
  matches(name, row) {
    const text = `${row.label} ${row.flag} ${row.help} ${name}`.toLowerCase();
    const wanted = this.words.value.trim().toLowerCase().replace(/^--/, "");
    return text.includes(wanted) && (!this.only.checked || this.changed.some((one) => one.name === name));
  }

  /** Show the fields that match, and how many there are in each group. */
  filter() {
    const found = Object.entries(this.table).filter(([name, row]) => this.matches(name, row));
    const inGroup = (/** @type {FieldText} */ row) => this.group === ALL || row.section === this.group;
    const visible = new Set(found.filter(([, row]) => inGroup(row)).map(([name]) => name));
    for (const name of Object.keys(this.table)) {
      const field = fieldElement(name);
      if (field) field.hidden = !visible.has(name);
    }
    put(this.found, visible.size ? `${visible.size} shown` : this.nothing());
    this.showGroups(found);
  }

  /** Why no setting is shown. */
  nothing() {
    return this.only.checked && !this.words.value ? "All settings are at this model’s defaults." : "No setting matches. Other settings of the trainer can be typed into “Other flags”, by their names.";
  }

  /** @param {[string, FieldText][]} found the settings that match */
  showGroups(found) {
    const names = [ALL, ...new Set(Object.values(this.table).map((row) => row.section))];
    const count = (/** @type {string} */ group) => found.filter(([, row]) => group === ALL || row.section === group).length;
    keyed(this.groups, names, (name) => name,
      (name) => h("button", { type: "button", onclick: () => { this.group = name; this.filter(); } }, name, h("span", { class: "faint" })),
      (button, name) => {
        put(button.lastElementChild, String(count(name)));
        attribute(button, "aria-pressed", String(name === this.group));
      });
  }

  /**
   * Show which settings an answer of the form says are changed.
   * @param {FormShown} answer
   */
  show(answer) {
    this.changed = answer.changed;
    const changed = new Map(answer.changed.map((one) => [one.name, one]));
    for (const name of Object.keys(this.table)) this.mark(name, changed.get(name));
    const number = this.changed.length;
    put(this.resetText, `Reset ${number} to default`);
    this.reset.hidden = !number;
    this.showChips();
    this.filter();
    if (answer.kind === "reset") this.offerUndo(answer.patch);
  }

  /**
   * Mark a field that is changed, and name its default.
   * @param {string} name
   * @param {ChangedSetting} [change]
   */
  mark(name, change) {
    const field = fieldElement(name);
    field?.classList.toggle("changed", Boolean(change));
    const text = field?.querySelector(".fg-default");
    const dot = this.table[name].flag ? " · " : "";
    if (text) put(text, dot + (change ? `default: ${shown(change.default)}` : "default"));
  }

  /** Show what is changed in the head of the card. */
  showChips() {
    const number = this.changed.length;
    const more = number - MAX_CHIPS;
    const texts = this.changed.slice(0, MAX_CHIPS).map((one) => `${one.label}: ${shown(one.value).split("\n")[0]}`);
    const chips = number ? [`${number} changed`, ...texts, ...(more > 0 ? [`${more} more`] : [])] : ["All at this model’s defaults"];
    keyed(this.chips, chips, (text) => text, (text) => h("span", {}, text), (chip, text) => {
      attribute(chip, "class", number ? `chip cut ${text === chips[0] ? "accent" : "not-phone"}` : "small faint");
    });
  }

  /**
   * Offer to undo a reset.
   * @param {FormAnswer["patch"]} patch of the reset
   */
  offerUndo(patch) {
    const number = Object.keys(patch).length;
    if (!number) return;
    notice(`${plural(number, "setting is", "settings are")} back to this model’s defaults.`, { undo: () => putBack(patch) });
  }
}

/** @param {{ element: HTMLElement }} part */
export async function mount({ element }) {
  new Advanced(element, await settingsTable);
}
