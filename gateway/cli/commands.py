"""Every command of `filmgate`: its name, where it is, and what `--help` says of it, in that order.

A test compares each help with the docstring of the command.
"""

from __future__ import annotations

from gateway.cli.lazy import Command, Group

GATES = ("anatomy", "inversion", "rotation", "mirror", "lungs")

RUN, REVIEW, UPKEEP = "gateway.cli.run", "gateway.cli.review", "gateway.cli.upkeep"
STEER, LAB = "gateway.cli.steer", "gateway.cli.lab"
TRAIN_HELP = "Train a gate; the result is a bundle without thresholds, which `calibrate` chooses."
EVALUATE_HELP = "Report what a gate's rounds say: a page with tables, curves, and every error to look at."

FILMS: tuple[Command | Group, ...] = (
    Command("list", f"{REVIEW}.films:list_films", "List the films that were received, newest first."),
    Command(
        "show",
        f"{REVIEW}.films:show",
        "Show one film: what each gate found, which rule fired, and what happened since.",
    ),
    Command(
        "send-again",
        f"{REVIEW}.films:send_again",
        "Queue the failed deliveries of films once more.",
    ),
    Command(
        "gate-again",
        f"{REVIEW}.films:gate_again",
        "Have films examined once more; the new decision supersedes the old one.",
    ),
)
QUARANTINE: tuple[Command | Group, ...] = (
    Command("list", f"{REVIEW}.quarantine:list_holds", "List the held films, oldest first."),
    Command("show", f"{REVIEW}.quarantine:show", "Show why a film is held, and what can be done."),
    Command("release", f"{REVIEW}.deciding:release", "Send held films to the AI as they are."),
    Command(
        "correct",
        f"{REVIEW}.deciding:correct",
        "Send corrected copies: the proposal that lies ready, or one made as you say here.",
    ),
    Command(
        "reject",
        f"{REVIEW}.deciding:reject",
        "Close the hold: no AI gets these films. The originals stay, here and in the archive.",
    ),
    Command(
        "undo",
        f"{REVIEW}.deciding:undo",
        "Take back what people did, by the numbers of their acts: what has not left yet never leaves.",
    ),
    Command("note", f"{REVIEW}.deciding:note", "Keep a note with films; it is seen wherever they are shown."),
    Command(
        "rule",
        f"{REVIEW}.rulings:rule",
        "Say once and for all what a word in one sender's headers means, for waiting films and new ones.",
    ),
    Command(
        "take-back",
        f"{REVIEW}.rulings:take_back",
        "End a ruling: films that come from now on wait for a person again.",
    ),
    Command(
        "rulings",
        f"{REVIEW}.rulings:list_rulings",
        "List what people said once and for all about words in headers, oldest first.",
    ),
)
DELIVERIES: tuple[Command | Group, ...] = (
    Command(
        "summary",
        f"{REVIEW}.deliveries:summary",
        "Count what has not arrived, by destination, state and reason.",
    ),
    Command(
        "list",
        f"{REVIEW}.deliveries:list_deliveries",
        "List the objects that failed, or failed and are tried again, oldest first.",
    ),
    Command(
        "retry",
        f"{REVIEW}.deliveries:retry",
        "Queue all failed deliveries to a destination once more, or those of one reason.",
    ),
)
ALARMS: tuple[Command | Group, ...] = (
    Command("list", f"{REVIEW}.alarms:list_alarms", "List the alarms that are on, oldest first."),
    Command(
        "test",
        f"{REVIEW}.alarms:test",
        "Send a test alarm every way that is set up; exit code 1 when one was not taken.",
    ),
    Command(
        "replay",
        f"{REVIEW}.alarms:replay",
        "Run the alarms of rates over the films of the ledger: what would have been told, and when.",
    ),
)
LABELS: tuple[Command | Group, ...] = (
    Command(
        "export",
        f"{REVIEW}.labels:export",
        "Write what people said of films as the manifest that `train` and `calibrate --site` take.",
    ),
)
USERS: tuple[Command | Group, ...] = (
    Command("list", "gateway.cli.users.people:list_users", "List who may sign in to the console."),
    Command(
        "add", "gateway.cli.users.people:add", "Let somebody sign in to the console; the first one as admin."
    ),
    Command("role", "gateway.cli.users.people:role", "Say what somebody may do: viewer, reviewer or admin."),
    Command(
        "disable",
        "gateway.cli.users.people:disable",
        "Sign somebody out and keep them out; --undo lets them in again.",
    ),
    Command(
        "password",
        "gateway.cli.users.people:password",
        "Give somebody a new password; who had to wait after wrong ones may try at once.",
    ),
    Command("sign-out", "gateway.cli.users.people:sign_out", "End all sessions of somebody."),
)
CONFIG: tuple[Command | Group, ...] = (
    Command(
        "init",
        "gateway.cli.config:init",
        "Write an annotated filmgate.yaml with the defaults; never over an existing file.",
    ),
    Command(
        "check",
        "gateway.cli.config:check",
        "Read the settings as `up` would; exit code 2 and every fault with its line when they are wrong.",
    ),
    Command("show", "gateway.cli.config:show", "Show every setting in force and where it was said."),
    Command("schema", "gateway.cli.config:schema", "Print the JSON schema of filmgate.yaml, for editors."),
)
TRAIN: tuple[Command | Group, ...] = (
    *(Command(gate, f"{LAB}.gates:train", TRAIN_HELP, gate) for gate in GATES),
    Command(
        "classifier",
        f"{LAB}.classifiers:train",
        "Train a classifier of chests on your own films; see docs/training.md.",
    ),
    Command(
        "lessons",
        f"{LAB}.classifiers:lessons",
        "Measure what augmentation and the ways with imbalance do on your films: docs/lessons.md.",
    ),
)
EVALUATE: tuple[Command | Group, ...] = (
    *(Command(gate, f"{LAB}.gates:evaluate", EVALUATE_HELP, gate) for gate in (*GATES, "chain")),
    Command(
        "classifier",
        f"{LAB}.classifier_reports:classifier",
        "Report what a classifier's scores say: areas, thresholds, calibration; see docs/validation.md.",
    ),
    Command(
        "robustness",
        f"{LAB}.classifier_reports:robustness",
        "Show damaged films to a classifier, with gates off and on: one table and one plot.",
    ),
)
REGION: tuple[Command | Group, ...] = (
    Command(
        "begin",
        f"{LAB}.regions:begin",
        "Turn DICOM films into pictures as displayed, and write a manifest to fill in. No name is kept.",
    ),
    Command(
        "check",
        f"{LAB}.regions:check",
        "Read a manifest and name everything that is wrong in it; else count what is there.",
    ),
    Command(
        "sheet",
        f"{LAB}.regions:sheet",
        "Draw films with their boxes on contact sheets, to look at; wrong boxes are seen at once.",
    ),
    Command(
        "train",
        f"{LAB}.regions:train",
        "Train and test the gate of a manifest: a bundle for `work.regions`. A stopped run goes on.",
    ),
    Command(
        "curve",
        f"{LAB}.regions:curve",
        "What more boxes would give: two thirds of the patients, with 25, 50 and 100 % of their boxes.",
    ),
)
IMPORT: tuple[Command | Group, ...] = (
    Command(
        "torchxrayvision",
        f"{LAB}.models:torchxrayvision",
        "Weights of one of TorchXRayVision's DenseNet-121 releases: a state dict or safetensors.",
    ),
    Command(
        "torchscript",
        f"{LAB}.models:foreign",
        "A classifier as TorchScript: a film in, a number for each label out.",
        "torchscript",
    ),
    Command(
        "onnx",
        f"{LAB}.models:foreign",
        "A classifier as ONNX, weights in or beside it: a film in, a number for each label out.",
        "onnx",
    ),
    Command(
        "monai",
        f"{LAB}.models:monai",
        "A MONAI bundle of a classifier: a DenseNet121 with model.pt, or any network as model.ts.",
    ),
)
MODELS: tuple[Command | Group, ...] = (
    Command(
        "list",
        f"{LAB}.models:list_models",
        "Every model: gates and classifiers, those that ship and those in the configuration.",
    ),
    Group("import", "Make other people's classifiers into bundles.", IMPORT),
)
POLICY: tuple[Command | Group, ...] = (
    Command("show", f"{STEER}.policy:show", "Print the rules in force, or those of one version."),
    Command(
        "check",
        f"{STEER}.policy:check",
        "Read a policy file as workers would; exit code 2 and its line and rule when it cannot be used.",
    ),
    Command(
        "try",
        f"{STEER}.policy:try_policy",
        "Say what a policy file would change on the last films; nothing is changed by it.",
    ),
    Command(
        "versions",
        f"{STEER}.policy:versions",
        "List the versions of the rules that people put in force, newest first.",
    ),
    Command(
        "use",
        f"{STEER}.policy:use",
        "Put a policy file in force, from the next film on, without a restart.",
    ),
    Command(
        "revert",
        f"{STEER}.policy:revert",
        "Put an older version in force once more, or the rules of the settings.",
    ),
)
SENDERS: tuple[Command | Group, ...] = (
    Command(
        "list",
        f"{STEER}.senders:list_senders",
        "List who sent the last films, with what was found in them, and how long they are silent.",
    ),
    Command(
        "refused",
        f"{STEER}.senders:list_refused",
        "List who was refused in the last 30 days, and why.",
    ),
    Command(
        "allowed",
        f"{STEER}.senders:list_allowed",
        "List who may send: by the settings, and whom people allowed since.",
    ),
    Command(
        "allow",
        f"{STEER}.senders:allow",
        "Let an AE title send from an address, from its next association on.",
    ),
    Command(
        "disallow",
        f"{STEER}.senders:disallow",
        "Take back what people allowed an AE title; what the settings allow stays.",
    ),
    Command(
        "mode",
        f"{STEER}.senders:mode",
        "Observe or enforce the rules on one sender's films, from the next one on.",
    ),
)
BYPASS: tuple[Command | Group, ...] = (
    Command(
        "on",
        f"{STEER}.bypass:switch_on",
        "Let every film go to AI as if the rules were only observed; a reason must be given.",
    ),
    Command(
        "off",
        f"{STEER}.bypass:switch_off",
        "End the bypass: the gates decide again what AI gets, from the next film on.",
    ),
    Command(
        "status",
        f"{STEER}.bypass:status",
        "Say whether the gates are bypassed, by whom, why and until when.",
    ),
)
DESTINATIONS: tuple[Command | Group, ...] = (
    Command(
        "list",
        f"{STEER}.destinations:list_destinations",
        "List the destinations: what they took today, what is owed, and what keeps them from taking it.",
    ),
    Command(
        "test",
        f"{STEER}.destinations:try_destinations",
        "Try whether destinations answer, in words; exit code 1 when one does not. No film is sent.",
    ),
    Command(
        "pause",
        f"{STEER}.destinations:pause",
        "Send nothing more to a destination; what is owed to it waits until `resume`.",
    ),
    Command(
        "resume",
        f"{STEER}.destinations:resume",
        "Send again what waits for a destination that was paused.",
    ),
)
COMMANDS: tuple[Command | Group, ...] = (
    Command(
        "up",
        f"{RUN}.up:up",
        "Run the gateway on this machine: listener, Redis, dispatcher and workers, supervised.",
    ),
    Command("listen", f"{RUN}.listen:listen", "Run one listener: it receives objects and keeps them safely."),
    Command(
        "dispatch",
        f"{RUN}.dispatch:dispatch",
        "Run the dispatcher: it wakes workers, frees dead leases and sends what is owed.",
    ),
    Command("work", f"{RUN}.work:work", "Run one worker: it decodes films, asks the gates and decides."),
    Command(
        "console",
        f"{RUN}.console:console",
        "Run the console: pages in a browser for radiology IT and reviewers.",
    ),
    Command(
        "send",
        "gateway.cli.transfer:send",
        "Send files to a storage SCP by C-STORE, as they are; exit code 1 when one was not accepted.",
    ),
    Command("echo", "gateway.cli.transfer:echo", "Ask a DICOM peer whether it is there, by C-ECHO."),
    Command(
        "doctor",
        f"{UPKEEP}.doctor:doctor",
        "Look at everything the gateway needs; exit code 1 when something would keep it from working.",
    ),
    Command(
        "fsck",
        f"{UPKEEP}.fsck:fsck",
        "Compare the store with the ledger, both ways; exit code 1 when something is left that is not right.",
    ),
    Command(
        "backup",
        f"{UPKEEP}.backup:backup",
        "Copy ledger and films, checked, while the gateway runs; exit code 1 when something is missing.",
    ),
    Command(
        "restore",
        f"{UPKEEP}.backup:restore",
        "Make a new state folder (--state) from a backup, checked; exit code 1 when something is missing.",
    ),
    Command(
        "rounds",
        f"{LAB}.gates:rounds",
        "Train a gate once without each site and ask it about the films it never saw; goes on after a stop.",
    ),
    Command(
        "calibrate",
        f"{LAB}.gates:calibrate",
        "Choose a gate's thresholds, from its rounds or on a hospital's own films; see docs/calibration.md.",
    ),
    Command(
        "classify",
        "gateway.cli.classify.command:classify",
        "Read films with a classifier; exit code 1 when one was not read. Not for diagnosis.",
    ),
    Command(
        "demo",
        f"{RUN}.demo:demo",
        "Run the gateway here, push synthetic films through it by C-STORE, show the verdicts; stays up.",
    ),
    Group("films", "What was received, what was decided, where it went.", FILMS),
    Group("quarantine", "The films that wait for a person.", QUARANTINE),
    Group("deliveries", "What has not arrived, why, and how it is sent again.", DELIVERIES),
    Group("destinations", "How each stands, whether it answers, and whether it gets anything.", DESTINATIONS),
    Group("senders", "Who sends, who may, and who was refused.", SENDERS),
    Group("policy", "The rules in force, their versions, and what others would change.", POLICY),
    Group("bypass", "For hours everything goes to AI; verdicts are only recorded.", BYPASS),
    Group("alarms", "What is wrong now, and who is told.", ALARMS),
    Group("labels", "What people said of films, for training and calibration.", LABELS),
    Group("users", "Who may sign in to the console, and what they may do.", USERS),
    Group("config", "Write, check and show the settings.", CONFIG),
    Group("train", "Train a gate or a classifier from labelled films.", TRAIN),
    Group("evaluate", "Report what is known of a gate or a classifier.", EVALUATE),
    Group("region", "A gate for another body region, from labels and boxes alone.", REGION),
    Group("models", "The models there are, and other people's made usable.", MODELS),
)
