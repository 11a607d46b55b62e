// What the page's scripts find in the browser besides the DOM: Gradio's configuration, and the events that they send to each other.

interface Window {
  /** Gradio's configuration; root is the URL below which the app is served. */
  gradio_config?: { root?: string };
}

interface DocumentEventMap {
  /** The app answers again, or does not. */
  "fg:connection": CustomEvent<boolean>;
  /** An event of the form got no answer (form_requests.js): the event, and a sentence that says why. */
  "fg:unanswered": CustomEvent<import("../../fluxgym/ui/assets/form_requests.js").Unanswered>;
  /** The slugs of runs that were forgotten or deleted on this page. */
  "fg:gone": CustomEvent<string[]>;
  /** A run or the list of runs was changed by this page. */
  "fg:changed": CustomEvent<null>;
  /** Another page was opened. */
  "fg:route": CustomEvent<{ tab: string; slug: string | null }>;
  /** An edit of the form was saved in the browser, or could not be. */
  "fg:edited": CustomEvent<null>;
  /** Any answer to an event of the form (form_events.py), also one that only has a message. */
  "fg:answer": CustomEvent<import("../../fluxgym/ui/assets/types.js").FormAnswer>;
  /** An answer to an event of the form (form_events.py). */
  "fg:form": CustomEvent<import("../../fluxgym/ui/assets/form.js").FormShown>;
  /** The form shows the images of another source: the slug of a run, "" for the draft. */
  "fg:images": CustomEvent<string>;
  /** The counts of the form's images. */
  "fg:counts": CustomEvent<Pick<import("../../fluxgym/ui/assets/types.js").ImagePage, "count" | "captioned" | "no_trigger">>;
  /** The filter of the form's images that is to be shown. */
  "fg:filter": CustomEvent<string>;
  "fg:remove-unused": CustomEvent<number>;
  /** The example photos are requested. */
  "fg:example": CustomEvent<null>;
  /** An answer with this number is about to change fields of the form. */
  "fg:patched": CustomEvent<number>;
  /** A setting is to be made visible. */
  "fg:reveal": CustomEvent<string>;
  /** The line about the machine. */
  "fg:machine": CustomEvent<string[]>;
  /** The run whose page is open, as it is known now. */
  "fg:run": CustomEvent<import("../../fluxgym/ui/assets/types.js").SessionRow>;
  /** An upload of images begins or has ended. */
  "fg:uploading": CustomEvent<boolean>;
  /** A new banner. */
  "fg:runs": CustomEvent<null>;
  "fg:run-page": CustomEvent<null>;
  "fg:queue": CustomEvent<import("../../fluxgym/ui/assets/types.js").Banner>;
}
