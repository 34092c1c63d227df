// The table of all settings: the reader, the check for unknown keys and the reference in the README come from it.

import RoutingContract

enum Keys {
    /// The sections whose names the user chooses.
    static let queuesSection = "queues"
    static let orgsSection = "orgs"

    static let workerName = SettingKey(
        "worker.name", .workerName, shownDefault: "host name, hyphen, process id",
        "Names this process in answers, dead letters and leases.")
    static let concurrency = SettingKey(
        "worker.concurrency", .wholeNumber(1...10_000), fallback: "64",
        "Commands in work at one time, over all queues.")
    static let drainTimeout = SettingKey(
        "worker.drainTimeout", .duration(.zero ... .seconds(3600)), fallback: "30s",
        "How long a drain may take before the process ends anyway.")

    static let brokerURL = SettingKey(
        "amqp.url", .brokerURL, fallback: "amqp://guest:guest@127.0.0.1:5672/", shape: .urls, isSecret: true,
        "The broker; several, separated by commas or as the list `urls`, are tried in turn.")
    static let brokerCAFile = SettingKey(
        "amqp.caFile", .path, "PEM file of the authorities that the broker's certificate is checked against.")
    static let certificateFile = SettingKey(
        "amqp.certificateFile", .path, "PEM file of the client certificate; needs `keyFile`.")
    static let keyFile = SettingKey(
        "amqp.keyFile", .path, "PEM file of the client certificate's key; needs `certificateFile`.")
    static let managementURL = SettingKey(
        "amqp.managementURL", .managementURL, isSecret: true,
        "RabbitMQ's management API, for `check` and `run --dry-run` alone: with a user that has the tag `monitoring` they "
            + "see queues and policies. Its certificate is checked against `caFile` as well.")
    static let heartbeat = SettingKey(
        "amqp.heartbeat", .heartbeat, fallback: "30s", "Heartbeat proposed to the broker; 0 turns it off.")
    static let brokerConnectTimeout = SettingKey(
        "amqp.connectTimeout", .duration(.milliseconds(100) ... .seconds(300)), fallback: "10s",
        "For connecting and logging in to one URL.")
    static let reconnectMinimum = SettingKey(
        "amqp.reconnect.minimum", .duration(.milliseconds(10) ... .seconds(60)), fallback: "250ms",
        "Bound of the wait after a first failure to connect, doubled by each further one; a random part of it is waited."
    )
    static let reconnectMaximum = SettingKey(
        "amqp.reconnect.maximum", .duration(.milliseconds(10) ... .seconds(600)), fallback: "5s",
        "Longest wait between attempts to connect.")

    static let queueNames = SettingKey(
        "queues", .queueName, fallback: "routing.commands", shape: .names,
        "The commands queues: a mapping from name to settings. The variable lists names, which replace those of the "
            + "file; a queue named in both keeps its settings.")
    static let prefetch = SettingKey(
        "queues.*.prefetch", .wholeNumber(1...65_535), shownDefault: "twice `worker.concurrency`",
        "Deliveries that the broker may have outstanding on this queue; at least its `concurrency`.")
    static let queueConcurrency = SettingKey(
        "queues.*.concurrency", .wholeNumber(0...10_000), fallback: "0",
        "Share of `worker.concurrency` that is kept for this queue.")
    static let defaultOrg = SettingKey("queues.*.defaultOrg", .orgName, "The org for commands that name none.")
    static let queueContext = SettingKey(
        "queues.*.defaultContext", .context, "AuthorizationContext for commands that name none, before the org's own.")
    static let allowedOrgs = SettingKey(
        "queues.*.allowedOrgs", .orgName, shownDefault: "all", shape: .list, "The orgs that may use this queue.")

    static let resultsQueue = SettingKey(
        "answers.queue", .queueName, fallback: "routing.results",
        "Where answers go whose command names no address.")
    static let deadLetterQueue = SettingKey(
        "answers.deadLetterQueue", .queueName, fallback: "routing.dead-letters", "Where dead letters go.")
    static let allowReplyTo = SettingKey(
        "answers.allowReplyTo", .replyPattern, fallback: "amq.rabbitmq.reply-to, routing.replies.*", shape: .list,
        "The addresses that a command's `reply_to` may name, beside `answers.queue`.")
    static let copyDirectReplies = SettingKey(
        "answers.copyDirectReplies", .boolean, fallback: "true",
        "Whether answers by direct reply-to, which are best effort, also go to `answers.queue`.")
    static let auditQueue = SettingKey(
        "deadLetters.auditQueue", .queueName, fallback: "routing.audit",
        "Where the trail goes of who replayed, discarded or resolved a dead letter, when and why.")
    static let maximumAge = SettingKey(
        "deadLetters.maximumAge", .duration(.seconds(60) ... .seconds(366 * 86_400)), shownDefault: "none",
        "How old dead letters may get: `dead-letters discard --overdue` takes those away that are older.")
    static let controlsEnabled = SettingKey(
        "controls.enabled", .boolean, fallback: "true",
        "Whether `run` obeys `pause` and `mode`, and does not start where it cannot read what they said.")
    static let controlsQueue = SettingKey(
        "controls.queue", .queueName, fallback: "routing.controls",
        "The stream in which stands what operators said by `pause`, `resume` and `mode`.")
    static let confirmTimeout = SettingKey(
        "answers.confirmTimeout", .duration(.seconds(1) ... .seconds(600)), fallback: "30s",
        "How long a publish may wait for the broker's confirm.")

    static let store = SettingKey(
        "store.url", .storeURL, fallback: "sqlite:route-worker.db", isSecret: true,
        "Where outcomes are remembered. `memory:` forgets them with the process: for trials.")
    static let storeCAFile = SettingKey(
        "store.caFile", .path, shownDefault: "the system's",
        "PEM file of the authorities that the certificate of the store's server is checked against. With it the `sslmode` "
            + "of a `postgres://` URL is `verify-full` unless it says otherwise; without it libpq's `prefer`.")
    static let retention = SettingKey(
        "store.retention", .duration(.seconds(60) ... .seconds(366 * 86_400)), fallback: "24h",
        "How long outcomes are kept. Commands issued longer ago are `expired`.")
    static let failureRetention = SettingKey(
        "store.failureRetention", .duration(.seconds(60) ... .seconds(366 * 86_400)), fallback: "14d",
        "How long failed and unknown outcomes are kept; at least `store.retention`.")
    static let lease = SettingKey(
        "store.lease", .duration(.seconds(1) ... .seconds(3600)), fallback: "60s",
        "How long a claim protects its holder; longer than `callTimeout` + `store.timeout` + 5s.")
    static let storeTimeout = SettingKey(
        "store.timeout", .duration(.milliseconds(100) ... .seconds(60)), fallback: "5s",
        "For one operation of the store.")
    static let linger = SettingKey(
        "store.linger", .duration(.zero ... .milliseconds(100)), fallback: "0",
        "How long the store may wait for more to put into one batch.")

    static let maximumBody = SettingKey(
        "commands.maximumBody", .size(1 << 10...16 << 20), fallback: "256KiB",
        "Largest body of a command. Of one four times as large, 1 MiB at least, nothing is kept: the broker dead-letters it."
    )
    static let maximumDepth = SettingKey(
        "commands.maximumDepth", .wholeNumber(4...512), fallback: "64", "Deepest nesting of a command's JSON.")
    static let futureTolerance = SettingKey(
        "commands.futureTolerance", .duration(.zero ... .seconds(86_400)), fallback: "5m",
        "How far ahead of the worker's clock an issue time may lie.")
    static let transferDeadline = SettingKey(
        "commands.transferDeadline", .transferDeadline, fallback: "40s",
        "Deadline after issue for `Transfer` and `Conference` that carry none.")
    static let honourReplay = SettingKey(
        "commands.honourReplay", .boolean, fallback: "false",
        "Whether replay counts count on every commands queue; on `replayQueue` they always do.")
    static let replayQueue = SettingKey(
        "commands.replayQueue", .queueName, fallback: "routing.commands.replay",
        "One more commands queue, for replayed dead letters: the one on which replay counts always count.")
    static let partitions = SettingKey(
        "commands.partitions", .wholeNumber(1...128), shownDefault: "none",
        "Into how many partitions, each consumed by one worker at a time, the first of `queues` is spread; the same for all "
            + "workers. Changing it needs empty queues.")
    static let partitionExchange = SettingKey(
        "commands.partitionExchange", .queueName, fallback: "routing.commands.partitioned",
        "The exchange to which commands for the partitions are published, with the conversation as routing key.")

    static let httpConnectTimeout = SettingKey(
        "http.connectTimeout", .duration(.milliseconds(100) ... .seconds(60)), fallback: "5s",
        "For DNS and TCP, and again for the proxy's tunnel and for TLS.")
    static let httpCAFile = SettingKey(
        "http.caFile", .path, shownDefault: "the system's", "PEM file of the authorities for calls to Salesforce.")
    static let proxy = SettingKey(
        // Not HTTP_PROXY: where that is set, it was set for other programs.
        "http.proxy", .proxyURL, environment: "HTTP_PROXY_URL", isSecret: true, "HTTP proxy for all calls.")
    static let maximumConnections = SettingKey(
        "http.maximumConnections", .wholeNumber(1...10_000), fallback: "64", "Connections to one origin at a time.")
    static let idleTimeout = SettingKey(
        "http.idleTimeout", .duration(.seconds(1) ... .seconds(3600)), fallback: "4s",
        "How long an idle connection is kept; shorter than servers keep it, since a request that crosses with a close is of unknown effect."
    )
    static let maximumAnswer = SettingKey(
        "http.maximumAnswer", .size(1 << 10...16 << 20), fallback: "256KiB", "Largest body of an answer.")

    static let orgID = SettingKey(
        "orgs.*.id", .orgID, shownDefault: "required", "The org's id. The name above it is the org's alias.")

    static let orgsFolder = SettingKey(
        "orgsFolder", .folder,
        "Folder of further orgs, one YAML file (`ALIAS.yaml`) each, with the keys that stand under `orgs.ALIAS` and, where "
            + "the file has another name, `alias`. A bad file stops its own org alone.")

    static let defaults = OrgKeys(section: "defaults")
    static let org = OrgKeys(section: "orgs.*")

    static let adminEnabled = SettingKey(
        "admin.enabled", .boolean, fallback: "true", "Whether `run` serves probes and metrics over HTTP.")
    static let adminAddress = SettingKey(
        "admin.address", .listenAddress, fallback: "127.0.0.1:9464",
        "Where; port 0 takes a free one. There is no access control: beyond loopback only where a network policy stands before it."
    )
    static let livenessLimit = SettingKey(
        "admin.livenessLimit", .duration(.seconds(1) ... .seconds(3600)), fallback: "2m",
        "A worker that has not consumed for so long is not live.")

    static let logLevel = SettingKey(
        "log.level", .choice(Settings.Log.Level.allCases), fallback: "info", "Least level that is written.")
    static let logFormat = SettingKey(
        "log.format", .choice(Settings.Log.Format.allCases), fallback: "human",
        "How lines are written: for people, or as one JSON object each.")

    static let logBuffer = SettingKey(
        "log.buffer", .size(64 << 10...64 << 20), fallback: "1MiB",
        "How much may wait to be written, and once more that is under way; lines beyond it are dropped and counted.")

    /// Everything, in the order of the reference.
    static let all: [SettingsReference.Entry] =
        [workerName.entry, concurrency.entry, drainTimeout.entry]
        + [brokerURL.entry, brokerCAFile.entry, managementURL.entry, certificateFile.entry, keyFile.entry]
        + [heartbeat.entry]
        + [brokerConnectTimeout.entry, reconnectMinimum.entry, reconnectMaximum.entry]
        + [queueNames.entry, prefetch.entry, queueConcurrency.entry, defaultOrg.entry, queueContext.entry]
        + [allowedOrgs.entry]
        + [resultsQueue.entry, deadLetterQueue.entry, allowReplyTo.entry, copyDirectReplies.entry]
        + [confirmTimeout.entry, auditQueue.entry, maximumAge.entry]
        + [controlsEnabled.entry, controlsQueue.entry]
        + [store.entry, storeCAFile.entry, retention.entry, failureRetention.entry, lease.entry, storeTimeout.entry]
        + [linger.entry]
        + [maximumBody.entry, maximumDepth.entry, futureTolerance.entry, transferDeadline.entry, honourReplay.entry]
        + [replayQueue.entry, partitions.entry, partitionExchange.entry]
        + [httpConnectTimeout.entry, httpCAFile.entry, proxy.entry, maximumConnections.entry, idleTimeout.entry]
        + [maximumAnswer.entry]
        + defaults.entries + [orgsFolder.entry, orgID.entry] + org.entries
        + [adminEnabled.entry, adminAddress.entry, livenessLimit.entry]
        + [logLevel.entry, logFormat.entry, logBuffer.entry]
}

/// The settings that stand under `defaults` for all orgs, and under an org for itself. Only those under `defaults` have
/// a fallback; an org without a value of its own takes theirs.
struct OrgKeys {
    let baseURL: SettingKey<String>
    let defaultContext: SettingKey<String>
    let validation: SettingKey<KnownOrg.Validation>
    let callTimeout: SettingKey<Duration>
    let tokenFile: SettingKey<String>
    let tokenEnvironment: SettingKey<String>
    let oauth: OAuthKeys
    let bodyFormat: SettingKey<Settings.BodyFormat>
    let unknownEffect: SettingKey<Settings.UnknownEffect>
    let transferDeadline: SettingKey<Duration>
    let attempts: SettingKey<Int>
    let budget: SettingKey<Duration>
    let retryMinimum: SettingKey<Duration>
    let retryMaximum: SettingKey<Duration>
    let maximumConcurrency: SettingKey<Int>
    let rateLimit: SettingKey<Int>
    let parking: SettingKey<Bool>
    let failurePercent: SettingKey<Int>
    let minimumCalls: SettingKey<Int>
    let breakerWindow: SettingKey<Duration>
    let probeMinimum: SettingKey<Duration>
    let probeMaximum: SettingKey<Duration>

    init(section: String) {
        let isDefaults = section == "defaults"
        func key<Value>(
            _ name: String, _ form: ValueForm<Value>, fallback: String? = nil, shown: String? = nil,
            shape: SettingsReference.Shape = .scalar, isSecret: Bool = false, _ summary: String
        ) -> SettingKey<Value> {
            let inherits = fallback != nil || shown != nil
            return SettingKey(
                "\(section).\(name)", form, fallback: isDefaults ? fallback : nil,
                shownDefault: isDefaults ? shown : inherits ? "`defaults.\(name)`" : nil, shape: shape,
                isSecret: isSecret, summary)
        }
        baseURL = key(
            "baseURL", .baseURL, shown: "required for each org", "Where the org's Interaction Service API is reached.")
        defaultContext = key("defaultContext", .context, shown: "none", "AuthorizationContext for commands without.")
        validation = key(
            "validation", .choice([.lenient, .strict]), fallback: "lenient",
            "How closely commands are checked before the call.")
        callTimeout = key(
            "callTimeout", .duration(.milliseconds(100) ... .seconds(120)), fallback: "10s",
            "For one call altogether.")
        tokenFile = key(
            "tokenFile", .path, shown: "this, `tokenEnvironment` or `oauth` is required for each org", isSecret: true,
            "File that holds the org's access token.")
        tokenEnvironment = key(
            "tokenEnvironment", .variableName, shown: "this, `tokenFile` or `oauth` is required for each org",
            isSecret: true, "Name of the environment variable that holds the org's access token.")
        oauth = OAuthKeys(
            tokenURL: key(
                "oauth.tokenURL", .tokenURL, shown: "required for `oauth`",
                "Where access tokens are asked for, by the OAuth 2.0 JWT bearer flow."),
            clientID: key(
                "oauth.clientId", .clientID, shown: "required for `oauth`", isSecret: true,
                "The app's consumer key."),
            username: key(
                "oauth.username", .username, shown: "required for `oauth`",
                "The user for whom calls are made; pre-authorised for the app."),
            audience: key(
                "oauth.audience", .audience, fallback: "https://login.salesforce.com",
                "The login URL; for a sandbox `https://test.salesforce.com`."),
            keyFiles: key(
                "oauth.keyFiles", .path, shown: "required for `oauth`", shape: .list, isSecret: true,
                "PEM files of RSA keys (PKCS#1 or PKCS#8), tried in this order; read again for each request."))
        bodyFormat = key(
            "bodyFormat", .choice(Settings.BodyFormat.allCases), fallback: "json",
            "How the payload is sent: as `application/json`, or as the part `json` of a `multipart/form-data` body.")
        unknownEffect = key(
            "unknownEffect", .choice(Settings.UnknownEffect.allCases), fallback: "report",
            "What happens to a route whose call may have taken effect. `retry` and `clear-then-route` may give two "
                + "effects.")
        transferDeadline = key(
            "transferDeadline", .transferDeadline, shown: "`commands.transferDeadline`",
            "Deadline after issue for `Transfer` and `Conference` that carry none.")
        attempts = key("retry.attempts", .wholeNumber(1...100), fallback: "10", "Calls for one command.")
        budget = key(
            "retry.budget", .duration(.zero ... .seconds(3600)), fallback: "120s",
            "Time for all calls of one command.")
        retryMinimum = key(
            "retry.minimum", .duration(.milliseconds(1) ... .seconds(600)), fallback: "200ms",
            "Bound of the wait after a first failed call, doubled by each further one; a random part of it is waited.")
        retryMaximum = key(
            "retry.maximum", .duration(.milliseconds(1) ... .seconds(600)), fallback: "20s",
            "Longest wait between calls.")
        maximumConcurrency = key(
            "maximumConcurrency", .wholeNumber(1...10_000), shown: "`worker.concurrency`",
            "Calls to one org at one time.")
        rateLimit = key(
            "rateLimit", .wholeNumber(1...100_000), shown: "none",
            "Calls to one org a second, of all workers of a commands queue together.")
        parking = key(
            "parking", .boolean, fallback: "true",
            "Whether an org in trouble is parked; otherwise its commands use up their retry budgets.")
        failurePercent = key(
            "breaker.failurePercent", .wholeNumber(1...100), fallback: "50",
            "The org is parked when this part of its calls failed, in percent.")
        minimumCalls = key(
            "breaker.minimumCalls", .wholeNumber(1...10_000), fallback: "5", "Never after fewer calls than this.")
        breakerWindow = key(
            "breaker.window", .duration(.seconds(1) ... .seconds(3600)), fallback: "30s", "How far back calls count.")
        probeMinimum = key(
            "probe.minimum", .duration(.milliseconds(100) ... .seconds(600)), fallback: "1s",
            "Shortest wait before a parked org is probed (with jitter).")
        probeMaximum = key(
            "probe.maximum", .duration(.milliseconds(100) ... .seconds(3600)), fallback: "60s",
            "Longest wait between probes of a parked org (with jitter).")
    }

    var entries: [SettingsReference.Entry] {
        [baseURL.entry, defaultContext.entry, validation.entry, callTimeout.entry, tokenFile.entry]
            + [tokenEnvironment.entry] + oauth.entries + [bodyFormat.entry]
            + [unknownEffect.entry, transferDeadline.entry, attempts.entry, budget.entry]
            + [retryMinimum.entry, retryMaximum.entry, maximumConcurrency.entry, rateLimit.entry, parking.entry]
            + [failurePercent.entry, minimumCalls.entry, breakerWindow.entry, probeMinimum.entry, probeMaximum.entry]
    }
}

/// The settings of the OAuth 2.0 JWT bearer flow. Each stands for itself: an org may share the app and its keys with all
/// others, and have a user of its own.
struct OAuthKeys {
    let tokenURL: SettingKey<String>
    let clientID: SettingKey<String>
    let username: SettingKey<String>
    let audience: SettingKey<String>
    let keyFiles: SettingKey<String>

    var paths: [[String]] { [tokenURL, clientID, username, audience, keyFiles].map(\.path) }
    var entries: [SettingsReference.Entry] { [tokenURL, clientID, username, audience, keyFiles].map(\.entry) }
}

extension ValueForm<Duration> {
    static var transferDeadline: ValueForm { .duration(.seconds(1) ... .seconds(60)) }

    /// The protocol counts heartbeats in whole seconds.
    static var heartbeat: ValueForm {
        let form = ValueForm.duration(.zero ... .seconds(600))
        return ValueForm(form.shown + ", whole seconds") { text throws(Refusal) in
            let duration = try form.parse(text)
            guard duration == .seconds(duration.components.seconds) else {
                throw Refusal("is not a whole number of seconds, write for example 30s")
            }
            return duration
        }
    }
}
