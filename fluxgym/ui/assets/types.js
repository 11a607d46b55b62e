// The types of the JSON API, made from its OpenAPI description by `make types`. Do not edit.

/**
 * A button's action; run_id is that of the run that the button was drawn for, agreed the codes of errors that the user agreed to.
 * @typedef {object} ActionRequest
 * @property {string | null} [run_id]
 * @property {string} [name]
 * @property {string} [version]
 * @property {string} [checkpoint]
 * @property {number | null} [epochs]
 * @property {string[]} [agreed]
 */

/**
 * The result of an action on a run: the slug of a copy, the settings that a restore changed, the name of a template, a message to show.
 * @typedef {object} ActionResult
 * @property {string | null} slug
 * @property {string[]} changed
 * @property {string | null} template
 * @property {string} notice
 */

/**
 * A text to add to captions, at their start or end.
 * @typedef {object} AddTextRequest
 * @property {string[]} names
 * @property {string} text
 * @property {"start" | "end"} [at]
 */

/**
 * The rows of the banner, and the line about the machine.
 *
 * waiting: the number of queued runs after the one in `rows`. more: the number of rows that are left out; more_attention: how many of these
 * need attention. last_end: null if no run has ended. open_end: the key of the latest end of the run that the page shows.
 * @typedef {object} Banner
 * @property {string} version
 * @property {BannerCounts} counts
 * @property {SessionRow[]} rows
 * @property {number} waiting
 * @property {string[]} waiting_names
 * @property {number} more
 * @property {number} more_attention
 * @property {LastEnd | null} last_end
 * @property {string} open_end
 * @property {RunningNow | null} running
 * @property {string[]} machine
 */

/**
 * The number of runs that run, wait, and need attention since they were last opened, and of all runs.
 * @typedef {object} BannerCounts
 * @property {number} running
 * @property {number} queued
 * @property {number} attention
 * @property {number} total
 */

/**
 * The runs of an action.
 * @typedef {object} BulkRequest
 * @property {SelectedRun[]} runs
 */

/**
 * The slugs of the runs with which an action was done, and the runs that were refused.
 * @typedef {object} BulkResult
 * @property {string[]} slugs
 * @property {Refused[]} refused
 */

/**
 * The new caption of an image.
 * @typedef {object} CaptionRequest
 * @property {string} caption
 */

/**
 * A setting of Advanced that differs from the model's default, as the form shows both.
 * @typedef {object} ChangedSetting
 * @property {string} name
 * @property {string} label
 * @property {string | boolean} value
 * @property {string | boolean} default
 */

/**
 * A setting that was changed, with both values as the form shows them.
 * @typedef {object} ChangedValue
 * @property {string} label
 * @property {string} before
 * @property {string} after
 */

/**
 * One of two runs that are compared; points are [step, loss] pairs, thinned if there are many.
 * @typedef {object} ComparedRun
 * @property {string} slug
 * @property {string} name
 * @property {[number, number][]} points
 */

/**
 * The latest sample images of each compared run that has any: a column per run, whose key and label are its folder and its name.
 * @typedef {object} ComparedSamples
 * @property {string[]} prompts
 * @property {SampleColumn[]} columns
 */

/**
 * A setting, or a result, of each compared run; a value is "" where it is not known.
 * @typedef {object} ComparedSetting
 * @property {string} label
 * @property {string[]} values
 * @property {boolean} differs
 */

/**
 * Runs side by side.
 * @typedef {object} Comparison
 * @property {ComparedRun[]} runs
 * @property {ComparedSetting[]} settings
 * @property {ComparedSamples} samples
 */

/**
 * What the folders of runs hold, for the question before they are deleted.
 * @typedef {object} Contents
 * @property {number} num_files
 * @property {number} num_bytes
 * @property {number} num_loras
 * @property {number} num_checkpoints
 * @property {number} num_samples
 * @property {number} num_images
 */

/**
 * A name for a copy of a run that no run has.
 * @typedef {object} CopyName
 * @property {string} name
 */

/**
 * Points of the loss curve that changed, as [step, loss] pairs; last is the latest one if the thinned curve omits it.
 *
 * rates are the learning rates of these points, null where the trainer reports none; validation are [step, validation loss] pairs.
 * @typedef {object} CurvePoints
 * @property {[number, number][]} points
 * @property {(number | null)[]} rates
 * @property {[number, number] | null} last
 * @property {number | null} last_rate
 * @property {[number, number][]} validation
 * @property {boolean} replace
 */

/**
 * One entry of the list below a message; address is a page on the web about it, "" if there is none.
 * @typedef {object} Detail
 * @property {string} text
 * @property {string} address
 */

/**
 * The answer to a request that was refused; the HTTP status is 400, 404, 409, 413 or 507.
 * @typedef {object} ErrorAnswer
 * @property {ErrorText} error
 */

/**
 * One error message for the user; field is the form field that it is about, code the name of the error's class.
 *
 * details are the list that belongs to the message, such as the model files that are missing, with their sizes and addresses.
 * @typedef {object} ErrorText
 * @property {string} message
 * @property {string | null} field
 * @property {string} code
 * @property {Detail[]} details
 */

/**
 * The example photos are in the draft: a free LoRA name, and the trigger word of their captions.
 * @typedef {object} ExampleAdded
 * @property {string} source
 * @property {string} name
 * @property {string} trigger
 */

/**
 * What the page shows around a field of the form: label, help, the trainer's flag, and the group in Advanced, "" for the other fields.
 * @typedef {object} FieldText
 * @property {string} label
 * @property {string} help
 * @property {string} flag
 * @property {string} section
 */

/**
 * The runs that the list can be reduced to.
 * @typedef {"" | "running" | "queued" | "stopped" | "failed" | "completed" | "unstarted" | "imported"} Filter
 */

/**
 * The answer to an event of the form (form_events.py). A part that is null does not change the page and is left out.
 *
 * request: the number of the event. kept: the number of the last edit that is saved. patch: {field: [value that was sent, new value]}.
 * source: [slug that was sent, new slug] of the run whose images the form shows, "" for the draft's own. checks: null if the event does
 * not check the form, and only message or notice is shown; the page gets its fields beside the others.
 * @typedef {object} FormAnswer
 * @property {number} request
 * @property {"restore" | "typed" | "model" | "images" | "open" | "fresh" | "apply_template" | "save_template" | "start" | "reset" | "put_back" | "check" | ""} kind
 * @property {Record<string, [string | boolean | null, string | boolean | null]>} patch
 * @property {[string, string]} source
 * @property {number | null} [kept]
 * @property {string | null} [model]
 * @property {boolean | null} [draft]
 * @property {boolean | null} [reload_images]
 * @property {string | null} [message]
 * @property {string | null} [notice]
 * @property {TakenName | null} [taken]
 * @property {StartedRun | null} [started]
 * @property {Record<string, string>} [errors]
 * @property {Record<string, Detail[]>} [details]
 * @property {Record<string, string>} [notes]
 * @property {FormLine[]} [lines]
 * @property {ChangedSetting[]} [changed]
 * @property {string} [trigger]
 * @property {number} [images]
 * @property {number | null} [steps]
 * @property {string} [explain]
 * @property {string} [time]
 * @property {string} [time_note]
 * @property {string} [command]
 * @property {string} [toml]
 * @property {boolean} [pressed]
 * @property {boolean} [checking]
 */

/**
 * What is shown beside the form's fields: errors by field, the lists that belong to them, the results of all checks, steps and time.
 *
 * images: the number of images that steps is computed from; steps is null if it is unknown, time "" if nothing is known about it.
 * time_note: what time is based on. pressed: it answers a click on Start. checking: the trainer has not checked the settings yet that
 * only it can check, which the event "check" does.
 * @typedef {object} FormChecks
 * @property {Record<string, string>} errors
 * @property {Record<string, Detail[]>} details
 * @property {Record<string, string>} notes
 * @property {FormLine[]} lines
 * @property {ChangedSetting[]} changed
 * @property {string} trigger
 * @property {number} images
 * @property {number | null} steps
 * @property {string} explain
 * @property {string} time
 * @property {string} time_note
 * @property {string} command
 * @property {string} toml
 * @property {boolean} pressed
 * @property {boolean} checking
 */

/**
 * The result of a check of the form; field is "" if it is about none.
 *
 * images is the filter that shows the images that it is about, or "unused_caption" for caption files that can be removed, and num_images
 * their number; "" and 0 if it is not about some of them.
 * @typedef {object} FormLine
 * @property {Level} level
 * @property {string} text
 * @property {string} field
 * @property {string} images
 * @property {number} num_images
 */

/**
 * The data of the form's script when the page opens: the fields by name, and the number of devices.
 *
 * As many runs as devices can train at once.
 * @typedef {object} FormSetup
 * @property {Record<string, FieldText>} settings
 * @property {number} num_devices
 */

/**
 * The earlier settings of a run, newest first; unreadable are the names of files that cannot be read.
 * @typedef {object} HistoryPage
 * @property {HistoryVersion[]} versions
 * @property {string[]} unreadable
 */

/**
 * Earlier settings of a run, what was changed in them at `kept_at`, and whether they can be restored now.
 *
 * resumed_after is the step that the training had reached when it was resumed at that time, null if it was not resumed or that is not known.
 * @typedef {object} HistoryVersion
 * @property {string} id
 * @property {number} kept_at
 * @property {ChangedValue[]} changes
 * @property {number | null} resumed_after
 * @property {boolean} can_restore
 */

/**
 * The number of images after a change, and how many have a caption.
 *
 * undo is the token of an edit that can be undone, changed the number of captions that an edit of several changed.
 * @typedef {object} ImageCounts
 * @property {string} source
 * @property {number} count
 * @property {number} captioned
 * @property {string} undo
 * @property {number | null} changed
 */

/**
 * One image of the form; version changes with the file.
 * @typedef {object} ImageItem
 * @property {string} name
 * @property {string} caption
 * @property {string} version
 * @property {string} thumb
 */

/**
 * The names of all images that match search and filter.
 * @typedef {object} ImageNames
 * @property {string[]} names
 */

/**
 * Some images of the form, and how many there are; source is the run whose images they are, "" for the draft's own.
 *
 * shown is the number of images that match search and filter; no_trigger is the number of captions without the trigger word.
 * @typedef {object} ImagePage
 * @property {string} source
 * @property {ImageItem[]} items
 * @property {number} count
 * @property {number} captioned
 * @property {number} shown
 * @property {number} no_trigger
 */

/**
 * The types of files that can be added to the form, for a file input, and the number of images per page, on a wide screen too.
 *
 * num_example is the number of example photos.
 * @typedef {object} ImagesSetup
 * @property {string} file_types
 * @property {number} page_size
 * @property {number} wide_page_size
 * @property {number} num_example
 */

/**
 * The slugs of the runs that an exported file held.
 * @typedef {object} Imported
 * @property {string[]} slugs
 */

/**
 * The run that ended last, the word of its status, and when; for the title of the browser's tab.
 * @typedef {object} LastEnd
 * @property {string} slug
 * @property {string} name
 * @property {string} word
 * @property {number} at
 */

/**
 * How much a check's result matters: an ERROR prevents Start.
 * @typedef {"ok" | "warning" | "error"} Level
 */

/**
 * Text that was appended to training.log, or its last part if replace is true.
 * @typedef {object} LogPart
 * @property {string} text
 * @property {boolean} replace
 */

/**
 * A LoRA file that can be downloaded; path is where it is on the app's machine, size is text in MB = 10^6 bytes. Unknown numbers are null.
 *
 * checkpoint is the folder of the complete checkpoint that was saved with it, if the run can be resumed from there.
 * @typedef {object} LoraFile
 * @property {string} name
 * @property {string} path
 * @property {string} url
 * @property {string} size
 * @property {boolean} is_final
 * @property {number | null} epoch
 * @property {number | null} step
 * @property {number | null} val_loss
 * @property {string | null} checkpoint
 */

/**
 * The LoRA files, the newest first. best is the name of the one with the lowest validation loss, else the trained model's; why is the reason.
 * @typedef {object} LoraFiles
 * @property {LoraFile[]} files
 * @property {string | null} best
 * @property {string} why
 */

/**
 * An item of a run's menu.
 * @typedef {"next" | "edit" | "duplicate" | "history" | "template" | "export" | "forget" | "delete"} MenuItem
 */

/**
 * A base model by which the list can be filtered.
 * @typedef {object} ModelChoice
 * @property {string} id
 * @property {string} title
 */

/**
 * Whether a supervisor watches the run, its process ID if monitoring is on, and the last lines of monitor.log.
 * @typedef {object} MonitorState
 * @property {boolean} is_alive
 * @property {number | null} pid
 * @property {string[]} lines
 */

/**
 * Images by name.
 * @typedef {object} NamesRequest
 * @property {string[]} names
 */

/**
 * The next sample images that a live run draws; step is null if the run samples by epochs.
 * @typedef {object} NextSamples
 * @property {string} label
 * @property {number | null} step
 */

/**
 * The button of a run's next step, and its help text. href is the address of a download.
 * @typedef {object} NextStep
 * @property {StepAction} action
 * @property {string} text
 * @property {string} help
 * @property {string | null} href
 */

/**
 * What a run is on this machine.
 * @typedef {"trained" | "copy" | "import"} Origin
 */

/**
 * What an upload did to the folder.
 * @typedef {"added" | "renamed" | "present" | "replaced"} Outcome
 */

/**
 * The state of a run's page. ENDED: the run ended before its last step. NEW: a copy or an import that was not started.
 * @typedef {"live" | "done" | "ended" | "new"} PageState
 */

/**
 * The trainer's last known figures (sessions/listing.py). A TypedDict, so that unknown figures are left out of the JSON.
 *
 * Times are in seconds. phase is a Phase, or a phase of another trainer.
 * @typedef {object} ProgressFigures
 * @property {number} [time]
 * @property {number} [attempt]
 * @property {string} [phase]
 * @property {number} [step]
 * @property {number} [total_steps]
 * @property {number} [epoch]
 * @property {number} [loss]
 * @property {number} [lr]
 * @property {number} [s_per_it]
 * @property {number} [vram_mb]
 * @property {number} [rss_mb]
 * @property {number} [item]
 * @property {number} [num_items]
 * @property {number} [eta_s]
 */

/**
 * A run with which an action on several runs was not possible, and why.
 * @typedef {object} Refused
 * @property {string} slug
 * @property {string} message
 */

/**
 * Why a run is not on the list.
 * @typedef {"forgotten" | "replaced"} Removal
 */

/**
 * A run that was forgotten or replaced and can be put back by its id; num_loras is the number of its LoRA files.
 * @typedef {object} RemovedItem
 * @property {string} id
 * @property {string} name
 * @property {Removal} removal
 * @property {number} removed_at
 * @property {number} num_loras
 */

/**
 * The runs that are not on the list any more, the one that was removed last first.
 * @typedef {object} RemovedRuns
 * @property {RemovedItem[]} runs
 */

/**
 * A text to replace in captions.
 * @typedef {object} ReplaceRequest
 * @property {string[]} names
 * @property {string} find
 * @property {string} text
 */

/**
 * The parts of a run's page that changed. seen goes into the next request; is_missing is true if there is no such run.
 * @typedef {object} RunChanges
 * @property {string} seen
 * @property {boolean} is_missing
 * @property {SessionRow | null} session
 * @property {RunSummary | null} facts
 * @property {SampleMatrix | null} samples
 * @property {LoraFiles | null} files
 * @property {SettingRow[] | null} settings
 * @property {HistoryVersion[] | null} history
 * @property {MonitorState | null} monitor
 * @property {RunOutcome | null} ending
 * @property {LogPart | null} log
 * @property {CurvePoints | null} curve
 */

/**
 * Why a run ended before its last step, and what to do: the cause as a title, the reason as a message, lines of the log that show it.
 * @typedef {object} RunOutcome
 * @property {string} title
 * @property {string} reason
 * @property {string} exit
 * @property {string[]} evidence
 * @property {string[]} advice
 */

/**
 * What a run trains and how long it took; model is the base model's title, trained_s the seconds of all attempts together.
 *
 * use says with which programs its LoRA works, "" if that is not known.
 *
 * queued_at is null if the run did not wait; parent is the run that it was made from, "" for none, parent_name the name that is shown for it.
 * can_train_further is true if the run is completed and has a checkpoint to continue from with more epochs.
 * @typedef {object} RunSummary
 * @property {string} model
 * @property {string} use
 * @property {string} trigger
 * @property {number} num_images
 * @property {number | null} queued_at
 * @property {number | null} trained_s
 * @property {string} parent
 * @property {string} parent_name
 * @property {boolean} can_train_further
 */

/**
 * The run for the title of the browser's tab; percent is None before its first step.
 * @typedef {object} RunningNow
 * @property {string} slug
 * @property {string} name
 * @property {number | null} percent
 */

/**
 * The types of files that can be imported, for a file input, and the number of runs per page of the table.
 * @typedef {object} RunsSetup
 * @property {string} import_types
 * @property {number} page_size
 */

/**
 * The sample images of one step or epoch, one per prompt; null where there is none. step is null if it is unknown.
 * @typedef {object} SampleColumn
 * @property {string} key
 * @property {string} label
 * @property {number | null} step
 * @property {number | null} epoch
 * @property {(string | null)[]} images
 */

/**
 * The sample images by prompt and step, the earliest first.
 *
 * interval is a text about how often they are generated, empty the text that is shown without any.
 * @typedef {object} SampleMatrix
 * @property {string[]} prompts
 * @property {SampleColumn[]} columns
 * @property {NextSamples | null} upcoming
 * @property {string} interval
 * @property {string} empty
 */

/**
 * A selected run; run_id is that of the row that was selected.
 * @typedef {object} SelectedRun
 * @property {string} slug
 * @property {string | null} [run_id]
 */

/**
 * The number of runs by status, of those that match the filters by name and model; shown is that of runs that match all filters.
 *
 * unstarted is the number of copies, imported that of imports, that were not started.
 * @typedef {object} SessionCounts
 * @property {number} total
 * @property {number} running
 * @property {number} queued
 * @property {number} stopped
 * @property {number} failed
 * @property {number} completed
 * @property {number} unstarted
 * @property {number} imported
 * @property {number} shown
 */

/**
 * One page of the list of runs. models are the base models of all runs.
 * @typedef {object} SessionPage
 * @property {string} version
 * @property {SessionCounts} counts
 * @property {SessionRow[]} rows
 * @property {number} page
 * @property {number} page_size
 * @property {ModelChoice[]} models
 */

/**
 * A run as a row of a list.
 *
 * name: the name that the page shows, which no other run has. parent: the slug of the run that this run was made from.
 * parent_name: the name that the page shows for it. folder_name: the name of the folder if the name does not give it, else "".
 * began: the label of the time `started`, such as “Imported”. progress: the trainer's last known figures.
 * step: the last trained step; reason_names_step is true if the text of `reason` contains it.
 * duration_s: the duration of all attempts together. duration_from: while the run trains, the time from which the page counts the duration,
 * which is the start of the attempt less the duration of earlier attempts.
 * lora: the address of the trained LoRA. is_live: true while the run trains, starts or waits.
 * stop_text: the effect of the stop button (a stop or an immediate stop), "" if the next step is another one.
 * edit_text: the label of the button that fills the form with the run's settings, null if they cannot be read.
 * @typedef {object} SessionRow
 * @property {string} slug
 * @property {string} name
 * @property {string} lora_name
 * @property {Status} status
 * @property {StatusWord} shown
 * @property {string} activity
 * @property {string} reason_code
 * @property {string} reason
 * @property {number} started
 * @property {string} began
 * @property {number | null} ended
 * @property {Origin} origin
 * @property {string} parent
 * @property {string} parent_name
 * @property {string} folder_name
 * @property {string} model
 * @property {number | null} max_train_epochs
 * @property {boolean} checkpointing
 * @property {boolean} monitoring
 * @property {ProgressFigures} progress
 * @property {number | null} step
 * @property {number | null} total_steps
 * @property {boolean} reason_names_step
 * @property {number | null} duration_s
 * @property {number} attempt
 * @property {number | null} duration_from
 * @property {string} folder
 * @property {string | null} run_id
 * @property {string | null} lora
 * @property {boolean} is_live
 * @property {boolean} is_stopping
 * @property {NextStep} next_step
 * @property {string} stop_text
 * @property {MenuItem[]} menu
 * @property {string | null} edit_text
 * @property {PageState} page_state
 */

/**
 * A setting of a run; default and parent are the model's default and the value in the run that it is a copy of, null if they are equal.
 * @typedef {object} SettingRow
 * @property {string} name
 * @property {string} label
 * @property {string} value
 * @property {string | null} default
 * @property {string | null} parent
 */

/**
 * The columns by which the list can be sorted.
 * @typedef {"date" | "name" | "status" | "steps" | "loss" | "model" | "duration"} Sort
 */

/**
 * The run that Start has made.
 * @typedef {object} StartedRun
 * @property {string} slug
 */

/**
 * Status of a run, as in `ui_state.json` and `exit.json`.
 * @typedef {"starting" | "queued" | "running" | "stopped" | "completed" | "failed" | "unreadable"} Status
 */

/**
 * How a row shows its status: a word, the guide's symbol for screen readers, and the name of the SVG shape and color.
 * @typedef {object} StatusWord
 * @property {string} word
 * @property {string} symbol
 * @property {"running" | "queued" | "stopped" | "done" | "failed" | "bad" | "none"} shape
 */

/**
 * The action of the button for a run's next step. LOAD fills the form, DOWNLOAD follows a link, all others are requests to the app.
 * @typedef {"kill" | "cancel" | "stop" | "repair" | "resume" | "start" | "load" | "download"} StepAction
 */

/**
 * The number of runs that a sweep would take off the list, and the names of some of them.
 * @typedef {object} SweepPreview
 * @property {number} count
 * @property {string[]} names
 */

/**
 * Forget ended runs that were started more than this many days ago.
 * @typedef {object} SweepRequest
 * @property {number} days
 */

/**
 * The choices when a run already has the LoRA name: the label of each choice, null if it is not possible.
 *
 * replace_help describes what happens to the run that is replaced.
 * @typedef {object} TakenName
 * @property {string} title
 * @property {string} sentence
 * @property {string | null} resume
 * @property {string} new
 * @property {string | null} replace
 * @property {string} replace_help
 */

/**
 * The names of all templates.
 * @typedef {object} TemplateList
 * @property {string[]} templates
 */

/**
 * The token of an edit.
 * @typedef {object} UndoRequest
 * @property {string} token
 */

/**
 * What replacing the form's content would discard.
 * @typedef {object} Unsaved
 * @property {boolean} typed
 * @property {number} images
 */

/**
 * The name that an uploaded file has here, what the upload did, and whose images the form shows now: "" for the draft's own.
 *
 * undo is the token of an edit that can be undone.
 * @typedef {object} Uploaded
 * @property {string} source
 * @property {string} name
 * @property {Outcome} outcome
 * @property {string} undo
 */

/**
 * The answer to GET of an address below /fluxgym/.
 * @template {string} P
 * @typedef {P extends `api/drafts/${string}/images` ? ImagePage :
 *   P extends `api/drafts/${string}/names` ? ImageNames :
 *   P extends `api/drafts/${string}/unsaved` ? Unsaved :
 *   P extends `api/sessions/${string}/copy-name` ? CopyName :
 *   P extends `api/sessions/${string}/history` ? HistoryPage :
 *   P extends `api/runs/${string}` ? RunChanges :
 *   P extends `api/banner` ? Banner :
 *   P extends `api/compare` ? Comparison :
 *   P extends `api/removed` ? RemovedRuns :
 *   P extends `api/sessions` ? SessionPage :
 *   P extends `api/sweep` ? SweepPreview :
 *   P extends `api/templates` ? TemplateList :
 *   unknown} GetAnswer
 */

/**
 * The answer to POST of an address below /fluxgym/.
 * @template {string} P
 * @typedef {P extends `api/drafts/${string}/add-text` ? ImageCounts :
 *   P extends `api/drafts/${string}/example` ? ExampleAdded :
 *   P extends `api/drafts/${string}/remove` ? ImageCounts :
 *   P extends `api/drafts/${string}/remove-unused` ? ImageCounts :
 *   P extends `api/drafts/${string}/replace` ? ImageCounts :
 *   P extends `api/drafts/${string}/undo` ? ImageCounts :
 *   P extends `api/sessions/${string}/${string}` ? ActionResult :
 *   P extends `api/selection/contents` ? Contents :
 *   P extends `api/selection/delete` ? BulkResult :
 *   P extends `api/selection/exported` ? BulkResult :
 *   P extends `api/selection/forget` ? BulkResult :
 *   P extends `api/selection/undo-forget` ? BulkResult :
 *   P extends `api/removed/${string}` ? ActionResult :
 *   P extends `api/sweep` ? BulkResult :
 *   unknown} PostAnswer
 */

/**
 * The answer to PATCH of an address below /fluxgym/.
 * @template {string} P
 * @typedef {P extends `api/drafts/${string}/images/${string}` ? ImageCounts :
 *   unknown} PatchAnswer
 */

/**
 * The answer to DELETE of an address below /fluxgym/.
 * @template {string} P
 * @typedef {P extends `api/drafts/${string}/images/${string}` ? ImageCounts :
 *   P extends `api/drafts/${string}/images` ? ImageCounts :
 *   P extends `api/templates/${string}` ? TemplateList :
 *   unknown} DeleteAnswer
 */

/**
 * The answer to PUT of an address below /fluxgym/.
 * @template {string} P
 * @typedef {P extends `drafts/${string}/images/${string}` ? Uploaded :
 *   P extends `import/${string}` ? Imported :
 *   unknown} PutAnswer
 */

export {};
