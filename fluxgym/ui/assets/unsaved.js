// What would be lost if the form were filled again, in any tab of this browser: asked of the app, as another tab may have typed or uploaded it.

import { call } from "./api.js";
import * as memory from "./browser_store.js";

/** "what was typed and not started, and 3 images", "" when there is nothing, null when the app does not tell. */
export async function heldIn(server) {
  const held = await call(server, "held", { draft: memory.draft() });
  if (!held || held.error) return null;
  const images = held.images ? `${held.images} image${held.images === 1 ? "" : "s"} with captions, uploaded or written here` : "";
  const typed = held.typed ? "what was typed and not started" : "";
  return [typed, images].filter(Boolean).join(", and ");
}
