// What replacing the form's content would discard, in all tabs of this browser: the app knows about edits and uploads of other tabs.

import { get, path } from "./api.js";
import { plural } from "./text.js";
import * as store from "./browser_store.js";

/** "edited settings and 3 images", "" if there are none, null if the app does not respond. */
export async function unsavedChanges() {
  const { value } = await get(path("drafts", store.draft(), "unsaved"));
  if (!value) return null;
  const images = value.images ? `${plural(value.images, "image")} with captions` : "";
  const typed = value.typed ? "edited settings" : "";
  return [typed, images].filter(Boolean).join(" and ");
}
