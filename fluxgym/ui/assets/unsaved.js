// What replacing the form's content would discard, in all tabs of this browser: the app knows about edits and uploads of other tabs.

import { call } from "./api.js";
import * as store from "./browser_store.js";

/** "edited settings and 3 images", "" if there are none, null if the app does not respond. */
export async function unsavedChanges(server) {
  const unsaved = await call(server, "unsaved_changes", { draft: store.draft() });
  if (!unsaved || unsaved.error) return null;
  const images = unsaved.images ? `${unsaved.images} image${unsaved.images === 1 ? "" : "s"} with captions` : "";
  const typed = unsaved.typed ? "edited settings" : "";
  return [typed, images].filter(Boolean).join(" and ");
}
