// The log of a run: the last lines of training.log. New lines are appended, so that a selection stays; search shows the lines that match.

import { address, path } from "./api.js";
import { card } from "./card.js";
import { attribute, h, put } from "./dom.js";
import { icon } from "./icons.js";
import { whole } from "./text.js";

/** @import { LogPart } from "./types.js" */

const KEPT_LINES = 3000;
const AT_END_PX = 24;
const BAD = /\b\w*(Error|Exception)\b|\berror:|out of memory|\bKilled\b/;
const WARNING = /\bwarn(ing)?\b/i;

/**
 * A line as a terminal shows it: a carriage return overwrites what stands before it.
 * @param {string} line
 */
const overwritten = (line) => line.replace(/\r+$/, "").split("\r").at(-1) ?? "";

/**
 * A line of the log, marked if it is an error or a warning.
 * @param {string} line
 */
function lineNode(line) {
  if (BAD.test(line)) return h("mark", {}, `${line}\n`);
  return WARNING.test(line) ? h("span", { class: "w" }, `${line}\n`) : document.createTextNode(`${line}\n`);
}

class Log {
  /** @type {string[]} complete ones */
  lines = [];
  open = ""; // the last line, which may still grow or be overwritten
  query = "";
  tail = document.createTextNode(""); // shows the open line

  constructor() {
    this.text = h("div", { class: "log", tabindex: 0, role: "log", "aria-live": "off", "aria-label": "The last lines of training.log" }, this.tail);
    this.search = h("input", { class: "in s", type: "search", placeholder: "Search", "aria-label": "Search the log", oninput: () => this.filter() });
    this.found = h("span", { class: "small faint fg-found", role: "status" });
    this.follow = h("input", { type: "checkbox", role: "switch", checked: true, onchange: () => this.toEnd() });
    this.following = h("label", { class: "check switch" }, this.follow, "Follow");
    this.download = h("a", { class: "btn s icon", "aria-label": "Download the whole log", title: "Download the whole log", download: "" }, icon("download"));
    this.empty = h("p", { class: "body soft" });
    this.tools = h("div", { class: "line end" }, this.found, h("div", { class: "search" }, icon("search"), this.search), this.following, this.download);
    this.element = card("fg-h-log", "Log", { tools: this.tools }, this.text, this.empty);
    this.text.addEventListener("scroll", () => {
      if (!this.isAtEnd) this.follow.checked = false;
    });
  }

  get isAtEnd() {
    return this.text.scrollHeight - this.text.scrollTop - this.text.clientHeight < AT_END_PX;
  }

  /** @param {string} line */
  matches(line) {
    return !this.query || line.toLowerCase().includes(this.query);
  }

  /** Scroll to the last line if the log is followed. */
  toEnd() {
    if (this.follow.checked) this.text.scrollTop = this.text.scrollHeight;
  }

  /** @param {string[]} added */
  append(added) {
    this.tail.before(...added.filter((line) => this.matches(line)).map(lineNode));
    this.lines = [...this.lines, ...added].slice(-KEPT_LINES);
    while (this.text.childNodes.length > KEPT_LINES + 1) this.text.firstChild?.remove();
  }

  /** Show the lines that match what is searched. */
  filter() {
    this.query = this.search.value.trim().toLowerCase();
    this.text.replaceChildren(...this.lines.filter((line) => this.matches(line)).map(lineNode), this.tail);
    this.showTail();
    this.toEnd();
  }

  /** Show the open line, and how many lines there are. */
  showTail() {
    const shown = overwritten(this.open);
    const value = this.matches(shown) ? shown : "";
    if (this.tail.nodeValue !== value) this.tail.nodeValue = value;
    const count = this.text.childNodes.length - 1 + (value ? 1 : 0);
    put(this.found, this.query ? `${whole(count)} of ${whole(this.lines.length + (this.open ? 1 : 0))} lines` : "");
    const isEmpty = !this.lines.length && !this.open;
    this.text.hidden = isEmpty;
    this.tools.hidden = isEmpty;
    this.empty.hidden = !isEmpty;
  }

  clear() {
    this.lines = [];
    this.open = "";
    this.text.replaceChildren(this.tail);
  }

  /**
   * Show the log of another run.
   * @param {string} slug
   */
  reset(slug) {
    this.clear();
    this.query = "";
    this.search.value = "";
    this.follow.checked = true;
    attribute(this.download, "href", address(`${path("runs", slug)}/training.log`));
    this.showTail();
  }

  /** @param {LogPart} part */
  show(part) {
    if (part.replace) this.clear();
    const parts = (this.open + part.text).split("\n");
    this.open = parts.pop() ?? "";
    this.append(parts.map(overwritten));
    this.showTail();
    this.toEnd();
  }

  /** @param {boolean} isLive */
  setLive(isLive) {
    this.following.hidden = !isLive;
    put(this.empty, isLive ? "The trainer’s output appears here." : "This run has no log.");
  }
}

/** The card of the log. */
export const logCard = () => new Log();
