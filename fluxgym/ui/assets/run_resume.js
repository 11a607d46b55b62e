// The questions before a run continues: with more epochs, or from one of its checkpoints.

import { errorOf } from "./api.js";
import { question } from "./dialog.js";
import { whole } from "./text.js";

/** @import { Act } from "./session_actions.js" */
/** @import { LoraFile, SessionRow } from "./types.js" */

const MORE = 0.25; // the part of the epochs that is proposed on top

/**
 * Continue a completed run with more epochs.
 * @param {SessionRow} session
 * @param {Act} act
 */
export async function trainFurther(session, act) {
  const epochs = session.max_train_epochs ?? 0;
  const answer = await question({
    title: `Train ${session.name} further?`, yes: "Train further", field: { label: "Epochs in total", value: String(epochs + Math.max(1, Math.round(epochs * MORE))) },
    text: `The run has trained ${epochs} epochs. It continues where it ended. Its last LoRA file is replaced at the new end; those of earlier epochs stay.`,
    check: async (value) => {
      if (!/^\d{1,6}$/.test(value.trim()) || Number(value) <= epochs) return `Enter a whole number from ${epochs + 1} to 100000, in digits.`;
      return errorOf(await act.request(session, "resume", { epochs: Number(value) }));
    },
  });
  if (answer) act.done();
}

/**
 * Continue a run from the checkpoint that was saved with a LoRA file.
 * @param {SessionRow} session
 * @param {Act} act
 * @param {LoraFile} file
 */
export async function resumeFrom(session, act, file) {
  const step = file.step === null ? file.name : `step ${whole(file.step)}`;
  const answer = await question({
    title: `Resume ${session.name} from ${step}?`, yes: `Resume from ${step}`,
    text: "The steps after it are trained again. Their LoRA files are replaced when the training reaches them.",
    check: async () => errorOf(await act.request(session, "resume", { checkpoint: file.checkpoint ?? undefined })),
  });
  if (answer) act.done();
}
