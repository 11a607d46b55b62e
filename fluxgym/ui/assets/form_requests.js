// The requests that Gradio sends for the form's events, answered here if the app does not answer them. Otherwise Gradio would drop all later
// events without a message, and reload the page up to 2 seconds after the app is back, at a moment that no other script knows.

import { sentenceFor, setConnected } from "./api.js";
import { emit } from "./dom.js";

/** @import { FormAnswer } from "./types.js" */

/** @typedef {{ request: number, kind: FormAnswer["kind"], name?: string, trigger?: string, folders?: string[] }} SentEvent as form.js sends it */
/** @typedef {SentEvent & { sentence: string }} Unanswered */

const PATH = "/gradio_api/run/";
const NO_CHANGE = { data: [null] }; // what Gradio takes as the event's result

const send = window.fetch;

/**
 * The event that a request carries.
 * @param {unknown} body
 * @returns {SentEvent}
 */
const eventIn = (body) => JSON.parse(String(body)).event_data.form;

/**
 * @param {RequestInfo | URL} resource
 * @param {RequestInit} [options]
 */
async function answered(resource, options) {
  let sentence = "Connection lost. Try again when the page has reconnected.";
  try {
    const response = await send(resource, options);
    const body = await response.blob(); // a connection can also be lost in the middle of an answer
    if (response.ok) return new Response(body, { headers: response.headers });
    sentence = sentenceFor(response.status);
  } catch {
    setConnected(false);
  }
  emit("fg:unanswered", { ...eventIn(options?.body), sentence });
  return Response.json(NO_CHANGE);
}

/** @param {RequestInfo | URL} resource */
const isFormEvent = (resource) => new URL(typeof resource === "object" && "url" in resource ? resource.url : resource, location.href).pathname.includes(PATH);

window.fetch = (resource, options) => (isFormEvent(resource) ? answered : send)(resource, options);
