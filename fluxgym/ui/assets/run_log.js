// The log of a run: the last lines of training.log. New lines are appended, so that a selection stays; search shows the lines that match.

import { address, path } from "./api.js";
import { attribute, h, put } from "./dom.js";
import { icon } from "./icons.js";

const KEPT_LINES = 3000;
const BAD = /\b\w*(Error|Exception)\b|\berror:|out of memory|\bKilled\b/;
const WARNING = /\bwarn(ing)?\b/i;

/** A line as a terminal shows it: a carriage return overwrites what stands before it. */
const overwritten = (line) => line.replace(/\r+$/, "").split("\r").at(-1);

export function logCard() {
  let lines = []; // complete ones
  let open = ""; // the last line, which may still grow or be overwritten
  let query = "";
  const tail = document.createTextNode("");
  const text = h("div", { class: "log", tabindex: 0, role: "log", "aria-live": "off", "aria-label": "The last lines of training.log" });
  const search = h("input", { class: "in s", type: "search", placeholder: "Search", "aria-label": "Search the log", oninput: filter });
  const found = h("span", { class: "small faint", role: "status" });
  const follow = h("input", { type: "checkbox", role: "switch", checked: true, onchange: () => follow.checked && toEnd() });
  const following = h("label", { class: "check switch" }, follow, "Follow");
  const download = h("a", { class: "btn s icon", "aria-label": "Download the whole log", title: "Download the whole log", download: "" }, icon("download"));
  const empty = h("p", { class: "body soft" }, "The trainer's output appears here.");
  const tools = h("div", { class: "line end" }, found, h("div", { class: "search" }, icon("search"), search), following, download);
  const element = h("section", { class: "card", "aria-labelledby": "fg-h-log" }, h("header", {}, h("h2", { id: "fg-h-log" }, "Log"), tools), text, empty);
  text.append(tail);
  text.addEventListener("scroll", () => {
    if (!isAtEnd()) follow.checked = false;
  });

  const isAtEnd = () => text.scrollHeight - text.scrollTop - text.clientHeight < 24;
  const matches = (line) => !query || line.toLowerCase().includes(query);

  function toEnd() {
    text.scrollTop = text.scrollHeight;
  }

  function node(line) {
    const kind = BAD.test(line) ? "mark" : WARNING.test(line) ? "span" : null;
    return kind ? h(kind, kind === "span" ? { class: "w" } : {}, `${line}\n`) : document.createTextNode(`${line}\n`);
  }

  function append(added) {
    lines.push(...added);
    const nodes = added.filter(matches).map(node);
    tail.before(...nodes);
    lines = lines.slice(-KEPT_LINES);
    while (text.childNodes.length > KEPT_LINES + 1) text.firstChild?.remove();
  }

  function filter() {
    query = search.value.trim().toLowerCase();
    text.replaceChildren(...lines.filter(matches).map(node), tail);
    showTail();
    if (follow.checked) toEnd();
  }

  function showTail() {
    const shown = overwritten(open);
    const value = matches(shown) ? shown : "";
    if (tail.nodeValue !== value) tail.nodeValue = value;
    const count = text.childNodes.length - 1 + (value ? 1 : 0);
    put(found, query ? `${count.toLocaleString("en-US")} of ${(lines.length + (open ? 1 : 0)).toLocaleString("en-US")} lines` : "");
    const isEmpty = !lines.length && !open;
    text.hidden = isEmpty;
    tools.hidden = isEmpty;
    empty.hidden = !isEmpty;
  }

  return {
    element,
    reset(slug) {
      lines = [];
      open = "";
      query = "";
      search.value = "";
      follow.checked = true;
      text.replaceChildren(tail);
      attribute(download, "href", address(`${path("runs", slug)}/training.log`));
      showTail();
    },
    show(part) {
      if (part.replace) {
        lines = [];
        open = "";
        text.replaceChildren(tail);
      }
      const parts = (open + part.text).split("\n");
      open = parts.pop() ?? "";
      append(parts.map(overwritten));
      showTail();
      if (follow.checked) toEnd();
    },
    setLive(isLive) {
      following.hidden = !isLive;
      put(empty, isLive ? "The trainer's output appears here." : "This run has no log.");
    },
  };
}
