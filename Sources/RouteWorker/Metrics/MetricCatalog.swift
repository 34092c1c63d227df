// The names of all metrics, once each, with their kinds, labels and meanings.

import CoreMetrics
public import PrometheusMetrics

/// Every metric of a worker.
///
/// No label grows by itself: `org` is an alias of the configuration, `queue` one of the worker's queues. No command,
/// conversation or person is ever a label.
public enum MetricCatalog {
    /// Stands for an org that the configuration does not know; no alias can read so.
    public static let unknownOrg = "(unknown)"

    // MARK: Commands

    public static let deliveries = MetricFamily(
        "route_worker_deliveries_total", .counter, labels: ["queue"], "Messages taken from a commands queue.")
    public static let redeliveries = MetricFamily(
        "route_worker_redeliveries_total", .counter, labels: ["queue"],
        "Those of them that the broker had delivered before.")
    public static let commands = MetricFamily(
        "route_worker_commands_total", .counter, labels: ["org", "command", "outcome"],
        "Commands that ended, by outcome; answers that were repeated for duplicates are not counted here. By an operator's mode of the org also `shadow` and `shadow-invalid` (discarded) and `passthrough` (handed on)."
    )
    public static let duplicates = MetricFamily(
        "route_worker_duplicates_total", .counter, labels: ["org"],
        "Deliveries whose command had ended before: its answer was repeated.")
    public static let setAside = MetricFamily(
        "route_worker_parked_total", .counter, labels: ["org"],
        "Deliveries moved to their org's parking queue; a command may be moved more than once.")
    public static let criticalTime = MetricFamily(
        "route_worker_critical_time_seconds", .histogram(buckets: waits), labels: ["type"],
        "From the issue of a command (without one, its receipt) to its acknowledgement, time in parking included.")
    public static let queueWait = MetricFamily(
        "route_worker_queue_wait_seconds", .histogram(buckets: waits), labels: ["type"],
        "From the issue of a command (without one, its receipt) to the start of the work that ended it.")

    // MARK: Calls

    public static let calls = MetricFamily(
        "route_worker_calls_total", .counter, labels: ["org", "result"],
        "Calls to Salesforce: `2xx` to `5xx` by the status of the answer, `not_sent`, or `unknown` when no answer came."
    )
    public static let callTime = MetricFamily(
        "route_worker_call_seconds", .histogram(buckets: callTimes), labels: ["org"],
        "Time of one call to Salesforce: token, connection, request and answer.")

    // MARK: Store and broker

    public static let storeBatchSize = MetricFamily(
        "route_worker_store_batch_operations", .histogram(buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256]),
        "Operations that the store took as one batch.")
    public static let storeBatchTime = MetricFamily(
        "route_worker_store_batch_seconds", .histogram(buckets: short), "Time of one batch of the store.")
    public static let storeFailures = MetricFamily(
        "route_worker_store_failures_total", .counter, "Batches that the store could not run.")
    public static let confirmTime = MetricFamily(
        "route_worker_confirm_seconds", .histogram(buckets: short),
        "From publishing what belongs to a command to the broker's confirm of the last message.")
    public static let publishes = MetricFamily(
        "route_worker_publishes_total", .counter, labels: ["result"],
        "Answers, dead letters and parked commands published: `confirmed`, `returned` (no queue takes it), `nacked`, `refused` or `failed`."
    )

    // MARK: What a worker holds

    public static let inFlight = MetricFamily(
        "route_worker_in_flight", .gauge, "Commands in work: each holds one slot of `worker.concurrency`.")
    public static let slots = MetricFamily("route_worker_slots", .gauge, "`worker.concurrency`.")
    public static let paused = MetricFamily(
        "route_worker_paused", .gauge, "Commands that were started and wait for their next attempt.")
    public static let waiting = MetricFamily(
        "route_worker_waiting", .gauge, "Commands delivered and not started.")
    public static let lanes = MetricFamily(
        "route_worker_lanes", .gauge, "Conversations with a command that waits or is in work.")
    public static let oldestTransfer = MetricFamily(
        "route_worker_oldest_transfer_seconds", .gauge,
        "Age, since its issue, of the oldest transfer or conference that this worker has, or parked less than a minute ago, and has not "
            + "ended; 0 without one."
    )
    public static let unacknowledged = MetricFamily(
        "route_worker_unacknowledged", .gauge, labels: ["queue"], "Deliveries that the broker waits for.")
    public static let prefetch = MetricFamily(
        "route_worker_prefetch", .gauge, labels: ["queue"], "How many of them the broker lets this worker have.")

    // MARK: Orgs

    public static let parkedOrgs = MetricFamily(
        "route_worker_parked_orgs", .gauge, "Orgs in trouble, whose commands are parked.")
    public static let orgIsParked = MetricFamily(
        "route_worker_org_parked", .gauge, labels: ["org"], "1 while the org is in trouble and its commands are parked."
    )
    public static let orgIsPaused = MetricFamily(
        "route_worker_org_paused", .gauge, labels: ["org"], "1 while an operator has the org paused.")
    public static let orgMode = MetricFamily(
        "route_worker_org_mode", .gauge, labels: ["org", "mode"],
        "1 for what is done with the org's commands by an operator's wish: `live`, `shadow` or `passthrough`.")
    public static let breakerIsOpen = MetricFamily(
        "route_worker_breaker_open", .gauge, labels: ["org"], "1 while the org's circuit breaker is open.")
    public static let orgConcurrency = MetricFamily(
        "route_worker_org_concurrency", .gauge, labels: ["org"],
        "Calls to the org that may be made at a time by now; falls when the org is busy.")
    public static let tokenIsMissing = MetricFamily(
        "route_worker_token_missing", .gauge, labels: ["org"], "1 while no access token can be had for the org.")

    // MARK: Health

    public static let ready = MetricFamily(
        "route_worker_ready", .gauge, "1 while broker, store and tokens are there, as /readyz says.")
    public static let live = MetricFamily("route_worker_live", .gauge, "1 while /livez says so.")
    public static let connected = MetricFamily(
        "route_worker_connected", .gauge, labels: ["connection"], "1 while the connection to the broker stands.")
    public static let consuming = MetricFamily(
        "route_worker_consuming", .gauge, labels: ["queue"], "1 while this worker consumes the queue.")
    public static let storeIsWell = MetricFamily(
        "route_worker_store_up", .gauge, "1 while the store does what it is asked.")
    public static let queueMessages = MetricFamily(
        "route_worker_queue_messages", .gauge, labels: ["queue"], "Messages ready in the queue, as the broker says.")
    public static let queueConsumers = MetricFamily(
        "route_worker_queue_consumers", .gauge, labels: ["queue"], "Consumers of the queue, as the broker says.")
    public static let deadLetters = MetricFamily(
        "route_worker_dead_letters", .gauge, "Messages ready in the dead-letter queue, as the broker says.")
    public static let certificateRemaining = MetricFamily(
        "route_worker_certificate_remaining_seconds", .gauge, labels: ["use", "org"],
        "Time until the first of these certificates expires: those of a file for the broker or for calls (`org` is empty), or the one that stands in an org's key file."
    )
    public static let linesDropped = MetricFamily(
        "route_worker_log_lines_dropped_total", .counter, "Log lines lost because nobody took them in time.")
    public static let info = MetricFamily(
        "route_worker_info", .gauge, labels: ["worker", "version"], "Always 1; says who it is.")

    /// What a registry is made with.
    public static let all = [
        deliveries, redeliveries, commands, duplicates, setAside, criticalTime, queueWait, calls, callTime,
        storeBatchSize, storeBatchTime, storeFailures, confirmTime, publishes, inFlight, slots, paused, waiting, lanes,
        oldestTransfer, unacknowledged, prefetch, parkedOrgs, orgIsParked, orgIsPaused, orgMode, breakerIsOpen,
        orgConcurrency, tokenIsMissing, ready, live, connected, consuming, storeIsWell, queueMessages, queueConsumers,
        deadLetters,
        certificateRemaining, linesDropped, info,
    ]

    // Bounds lie where deadlines do: 40 s for transfers, 60 s in Salesforce itself.
    private static let waits: [Double] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 300, 3600]
    private static let callTimes: [Double] = [0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 2, 5, 10, 30]
    private static let short: [Double] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30]
}

extension MetricFamily {
    func counter(_ values: String..., in factory: any MetricsFactory) -> Counter {
        Counter(label: name, dimensions: Array(zip(labels, values)), factory: factory)
    }

    func timer(_ values: String..., in factory: any MetricsFactory) -> CoreMetrics.Timer {
        CoreMetrics.Timer(label: name, dimensions: Array(zip(labels, values)), factory: factory)
    }

    func recorder(in factory: any MetricsFactory) -> Recorder { Recorder(label: name, factory: factory) }

    func meter(_ values: [String], in factory: any MetricsFactory) -> Meter {
        Meter(label: name, dimensions: Array(zip(labels, values)), factory: factory)
    }
}
