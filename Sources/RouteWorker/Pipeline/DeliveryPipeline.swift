// The straight way of a delivery, on the worker's home event loop:
//
//   deliver → decode → (lane) → settle: claim → call → record → announce → ack
//
// This file holds what surrounds `settle`: taking deliveries in, the lanes' slots, waiting, acks out, draining.

public import AMQP
import Failpoints
import FleetControls
public import IdempotencyStore
public import InteractionAPI
import Logging
import LoopSupport
public import NIOCore
public import RoutingContract
public import WorkerLog

/// Works on deliveries: one after another within a conversation, up to the worker's concurrency at a time.
///
/// Everything runs on one event loop, which is also the actor's executor: the HTTP pool on the same loop is reached
/// without a hop, and deliveries, acks and publishes cross to and from the AMQP threads as one batch per turn.
public actor DeliveryPipeline {
    typealias Lanes = ConversationLanes<ConversationKey, Work>

    public nonisolated let loop: any EventLoop
    private nonisolated let executor: LoopExecutor
    public nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    var settings: PipelineSettings
    let store: any IdempotencyStore
    let api: any RoutingAPI
    let publisher: any MessagePublisher
    let directReplies: any BestEffortPublisher
    var parking: (any ParkingLots)?
    /// Every command's line.
    let log: LineLog
    /// All other lines.
    let logger: Logger
    /// Seeded from the system once: every command draws a nonce, and the system's own costs a call of the kernel each.
    var generator = SeededGenerator(seed: UInt64.random(in: .min ... .max))
    var metrics: PipelineMetrics

    private(set) var decoder: CommandDecoder
    private let wallClock: @Sendable () -> Timestamp
    let queueIndex: [String: Int]
    /// Where its deliveries stand in line in ``lanes``, for each queue: those of partitions stand together.
    let sources: [Int]
    let queueOfLock: [String: Int]
    private var acknowledge: @Sendable ([Settlement]) -> Void = { _ in }

    var lanes: Lanes
    var tenures: QueueTenures
    /// Who waits for the end of a queue's work, by its index.
    var handOvers: [Int: CheckedContinuation<Bool, Never>] = [:]
    /// The generation in which each queue is consumed now; none while its subscription is lost.
    var generations: [String: UInt64] = [:]
    /// Of queues that should be consumed and are not.
    var outages: [String: Outage<AMQPError>] = [:]
    var storeOutage = Outage<String>()
    private var settlements: [Settlement] = []
    private var parkingSettlements: [Settlement] = []
    private var flushIsScheduled = false

    private var started = FIFO<(Lanes.Ticket, Work)>()
    private var idleRunners: [CheckedContinuation<(Lanes.Ticket, Work)?, Never>] = []
    private let tasksWanted: AsyncStream<Errand?>
    private let wantTask: AsyncStream<Errand?>.Continuation

    var orgs: [OrgID: OrgState] = [:]
    /// What operators say of the orgs.
    var controls = ControlState()
    /// The orgs that are called although they are not live.
    var returning: ReturnShares<OrgID>
    /// The parking queues that were used or found.
    var parkingPlaces: [String: ParkingPlace] = [:]
    var lotStates: [String: LotState] = [:]
    /// How many workers share the rate limits.
    var workers = 1

    private var sleepers: [Lanes.Ticket: Sleeper] = [:]
    private var drainWaiter: CheckedContinuation<Bool, Never>?

    private struct Sleeper {
        let continuation: CheckedContinuation<Void, Never>
        let work: Work
        /// `nil` once it was woken and stands in line for a slot.
        var alarm: Scheduled<Void>?
    }

    /// - Parameters:
    ///   - loop: the home event loop; also that of `api`.
    ///   - directReplies: for answers to direct reply-tos. It must have a connection of its own: RabbitMQ (3.10) ends
    ///     that of whoever publishes to an address which it cannot read, or whose node it does not know any more.
    ///   - wallClock: the time of day, by which deadlines are judged.
    public init(
        settings: PipelineSettings, loop: any EventLoop, decoder: CommandDecoder, store: any IdempotencyStore,
        api: any RoutingAPI, publisher: any MessagePublisher, directReplies: any BestEffortPublisher,
        log: LineLog, metrics: PipelineMetrics = PipelineMetrics(), wallClock: @escaping @Sendable () -> Timestamp
    ) {
        self.settings = settings
        self.loop = loop
        executor = LoopExecutor.of(loop)
        self.decoder = decoder
        self.store = store
        self.api = api
        self.publisher = publisher
        self.directReplies = directReplies
        self.log = log
        logger = Logger(label: log.label) { _ in LineLogHandler(log) }
        self.metrics = metrics
        self.metrics.use(decoder.orgs)
        self.wallClock = wallClock
        queueIndex = Dictionary(
            uniqueKeysWithValues: settings.queues.enumerated().map { ($0.element.name, $0.offset) })
        queueOfLock = Dictionary(
            uniqueKeysWithValues: settings.queues.enumerated().compactMap { index, queue in
                queue.lock.map { ($0, index) }
            })
        tenures = QueueTenures(locked: settings.queues.map { $0.lock != nil })
        let reserved: [Int]
        (sources, reserved) = settings.sources
        lanes = Lanes(
            slots: settings.concurrency, reserved: reserved,
            limits: settings.policies.compactMapValues(\.maximumConcurrency))
        returning = ReturnShares(slots: settings.concurrency)
        (tasksWanted, wantTask) = AsyncStream.makeStream()
    }

    /// Whether orgs can be parked at all.
    var parksOrgs: Bool { parking != nil }

    // MARK: Life

    /// Works until ``drain(within:)`` has been called and everything that was started has come to its end.
    ///
    /// - Parameter acknowledge: hands settlements to the consumer, once per turn of the loop; must not block.
    public func run(acknowledging acknowledge: @escaping @Sendable ([Settlement]) -> Void) async {
        self.acknowledge = acknowledge
        await withDiscardingTaskGroup { group in
            // One stream for both, since each takes a task of this group.
            for await errand in tasksWanted {
                if let errand {
                    group.addTask(executorPreference: self.executor) { await self.perform(errand) }
                } else {
                    group.addTask(executorPreference: self.executor) { await self.runner() }
                }
            }
            // The runners are done; nobody needs what a probe would find.
            group.cancelAll()
        }
    }

    /// Starts nothing new and lets what was started finish, which includes that the store knows of it. What waits between two
    /// attempts is left to the broker, which delivers it again when the channel closes.
    ///
    /// - Returns: whether nothing was left under way before `limit` was over.
    public func drain(within limit: Duration) async -> Bool {
        lanes.close()
        for org in orgs.keys {
            orgs[org]!.heldBack = []
            orgs[org]!.alarm?.scheduled.cancel()
            orgs[org]!.alarm = nil
        }
        wakeSleepers { _ in true }
        return await withCheckedContinuation { waiter in
            // Asked only here: the last delivery may have left while the caller's task came back to this actor.
            guard !lanes.isIdle else { return waiter.resume(returning: true) }
            drainWaiter = waiter
            loop.assumeIsolated().scheduleTask(in: TimeAmount(limit)) {
                self.assumeIsolated { $0.endDrain(false) }
            }
        }
    }

    public var isDraining: Bool { lanes.isClosed }

    /// Whether a drain has taken too long: what still tries to tell the store something gives up.
    private(set) var isCutOff = false

    /// From now on deliveries are read and worked on by these, and orgs in trouble are probed at once. What was delivered
    /// before keeps what was read of it; what was started keeps its policy.
    ///
    /// - Parameters:
    ///   - queueDefaults: for each queue of the settings, in their order.
    ///   - policies: also those of orgs that have gone, as long as commands of theirs may be waiting.
    public func replaceOrgs(
        decoder: CommandDecoder, queueDefaults: [QueueDefaults], policies: [OrgID: OrgPolicy]
    ) {
        self.decoder = decoder
        metrics.use(decoder.orgs)
        for (index, defaults) in queueDefaults.enumerated() { settings.queues[index].defaults = defaults }
        use(policies: policies)
        for org in orgs.keys {
            orgs[org]!.gate.mayBeMended(now: moment().uptime)
            rearm(org)
        }
        pump()
    }

    /// What the pipeline holds, for logs and metrics.
    public var load: (running: Int, paused: Int, waiting: Int) { (lanes.running, lanes.paused, lanes.waiting) }

    // MARK: In

    /// Takes what the consumer has to say; callable from its thread. One hop per batch.
    public nonisolated func receive(_ event: ConsumerEvent) {
        loop.execute { self.assumeIsolated { $0.take(event) } }
    }

    private func take(_ event: ConsumerEvent) {
        switch event {
        case .deliveries(let deliveries):
            let receivedAt = wallClock()
            for delivery in deliveries { take(delivery, receivedAt) }
            pump()
        case .subscribed(let queue, let generation): subscribed(queue, generation)
        case .subscriptionLost(let queue, let generation, let error): subscriptionLost(queue, generation, error)
        case .lockHeld(let lock): lockHeld(lock)
        case .lockRefused: break
        case .lockLost(let lock, _): lockLost(lock)
        case .rejectedUnread(let queue, let exchange, let routingKey):
            logger.error(
                "a message whose properties cannot be read was rejected to the broker's dead-letter exchange",
                metadata: [
                    LogKey.queue: "\(queue)", LogKey.exchange: "\(exchange)", LogKey.routingKey: "\(routingKey)",
                ])
        // Of each queue, what follows from it was told.
        case .connectionLost, .retrying: break
        }
    }

    private func take(_ delivery: Delivery, _ receivedAt: Timestamp) {
        if let place = parkingPlaces[delivery.queue] { return takeParked(delivery, place, receivedAt) }
        guard let queue = queueIndex[delivery.queue] else {
            logger.warning(
                "a message in a queue that is there to be counted is rejected",
                metadata: [LogKey.queue: "\(delivery.queue)"])
            return acknowledgeSoon(.reject(delivery.receipt), of: delivery.queue)
        }
        // What comes while the queue is given up is the next worker's.
        guard tenures.serves(queue) else { return }
        metrics.delivered(queue: queue, redelivered: delivery.redelivered)
        Failpoint.afterDeliver.reached()
        let work = Work(
            delivery: delivery, queue: queue, decoded: decode(delivery, settings.queues[queue].defaults, receivedAt),
            receivedAt: receivedAt, earlierDeliveries: delivery.earlierDeliveries)
        Failpoint.afterDecode.reached()
        enter(work)
    }

    func decode(
        _ delivery: Delivery, _ queue: QueueDefaults, _ now: Timestamp
    ) -> Result<RouteCommand, InvalidCommand> {
        let decoded = decoder.decode(delivery.message, routingKey: delivery.routingKey, queue: queue, now: now)
        // Nothing was kept of a body that was skipped, and without one there is no command.
        guard let bytes = delivery.skippedBodyBytes, case .failure(var invalid) = decoded else { return decoded }
        invalid.error = CommandError(
            message: "a body of \(bytes) bytes is more than a worker keeps", reason: "body-too-large")
        return .failure(invalid)
    }

    /// Takes away what has not started, and ends the waiting of what has.
    func stopWaiting(where matches: (Work) -> Bool) {
        var removed: [Work] = []
        lanes.removeWaiting { work in
            guard matches(work) else { return false }
            removed.append(work)
            return true
        }
        for org in orgs.keys where !orgs[org]!.heldBack.isEmpty {
            for work in orgs[org]!.heldBack where matches(work) { metrics.left(work) }
            orgs[org]!.heldBack.removeAll(where: matches)
        }
        for work in removed { left(work) }
        wakeSleepers(where: matches)
    }

    /// Whether the delivery is this worker's to work on; if not, the broker delivers it again.
    func isLive(_ work: Work) -> Bool {
        generations[work.subscription] == work.delivery.receipt.generation && tenures.serves(work.queue)
    }

    // MARK: Slots

    /// Runs deliveries one after another. There are as many runners as deliveries were ever under way at a time, which
    /// the prefetch bounds; a task for every message would cost more than the rest of its way through the lanes.
    private func runner() async {
        while let (ticket, work) = await nextStart() {
            let settlement = await settle(work, ticket)
            if let settlement { acknowledgeSoon(settlement, of: work.subscription) }
            lanes.finish(ticket)
            left(work)
            tenures.ended(work.queue)
            goOnHandingOver(work.queue)
        }
    }

    private func nextInLanes() -> Lanes.Start? {
        let start = lanes.next() ?? nextToSetAside()
        if case .start(_, let work) = start { tenures.began(work.queue) }
        return start
    }

    /// What this runner does next. A runner that has finished a delivery takes over its slot without a detour.
    private func nextStart() async -> (Lanes.Ticket, Work)? {
        if let start = started.popFirst() { return start }
        while let start = nextInLanes() {
            switch start {
            case .start(let ticket, let work): return (ticket, work)
            case .resume(let ticket): resume(ticket)
            }
        }
        endIfDrained()
        if isDrained { return nil }
        return await withCheckedContinuation { idleRunners.append($0) }
    }

    /// Starts whatever the slots allow, after something was delivered, paused or woken.
    func pump() {
        while let start = nextInLanes() {
            switch start {
            case .start(let ticket, let work):
                if let runner = idleRunners.popLast() {
                    runner.resume(returning: (ticket, work))
                } else {
                    started.append((ticket, work))
                    wantTask.yield(nil)
                }
            case .resume(let ticket): resume(ticket)
            }
        }
        endIfDrained()
    }

    /// Does something beside the deliveries.
    func errand(_ errand: Errand) { wantTask.yield(errand) }

    private func resume(_ ticket: Lanes.Ticket) {
        sleepers.removeValue(forKey: ticket)?.continuation.resume()
    }

    private var isDrained: Bool { lanes.isClosed && lanes.isIdle }

    private func endIfDrained() {
        guard isDrained else { return }
        flushSettlements()
        for runner in idleRunners { runner.resume(returning: nil) }
        idleRunners.removeAll()
        wantTask.finish()
        endDrain(true)
    }

    private func endDrain(_ isComplete: Bool) {
        guard let waiter = drainWaiter else { return }
        drainWaiter = nil
        waiter.resume(returning: isComplete)
        guard !isComplete else { return }
        isCutOff = true
        wakeSleepers { _ in true }
    }

    // MARK: Waiting

    /// Waits as ``pause(_:_:_:)`` does.
    ///
    /// - Returns: whether the delivery should be gone on with; not so when the worker drains or its channel is gone.
    func wait(_ duration: Duration, _ ticket: Lanes.Ticket, _ work: Work) async -> Bool {
        guard mayGoOn(work) else { return false }
        await pause(duration, ticket, work)
        return mayGoOn(work)
    }

    /// Waits without a slot; cut short when the worker drains or the delivery's channel is lost.
    func pause(_ duration: Duration, _ ticket: Lanes.Ticket, _ work: Work) async {
        lanes.pause(ticket)
        metrics.paused()
        await withCheckedContinuation { continuation in
            let alarm = loop.assumeIsolated().scheduleTask(in: timer(duration)) {
                self.assumeIsolated {
                    $0.wake(ticket)
                    $0.pump()
                }
            }
            sleepers[ticket] = Sleeper(continuation: continuation, work: work, alarm: alarm)
            pump()
        }
    }

    /// Ends the waiting of those that match.
    func wakeSleepers(where matches: (Work) -> Bool) {
        for (ticket, sleeper) in sleepers where matches(sleeper.work) { wake(ticket) }
        pump()
    }

    func mayGoOn(_ work: Work) -> Bool { !lanes.isClosed && isLive(work) }

    private func wake(_ ticket: Lanes.Ticket) {
        guard let alarm = sleepers[ticket]?.alarm else { return }
        alarm.cancel()
        sleepers[ticket]?.alarm = nil
        lanes.wake(ticket)
    }

    // MARK: Out

    func acknowledgeSoon(_ settlement: Settlement, of queue: String) {
        if let place = parkingPlaces[queue], settings.queues[place.queue].lock == nil {
            parkingSettlements.append(settlement)
        } else {
            settlements.append(settlement)
        }
        guard !flushIsScheduled else { return }
        flushIsScheduled = true
        loop.execute { self.assumeIsolated { $0.flushSettlements() } }
    }

    func flushSettlements() {
        flushIsScheduled = false
        if !settlements.isEmpty {
            acknowledge(settlements)
            settlements.removeAll(keepingCapacity: true)
        }
        if !parkingSettlements.isEmpty {
            parking?.settle(parkingSettlements)
            parkingSettlements.removeAll(keepingCapacity: true)
        }
    }

    // MARK: Time

    /// Rounded up to whole nanoseconds: who is woken a part of one early would find that it is not time yet. Saturates: a
    /// publisher's deadline can be further away than nanoseconds can count.
    func timer(_ duration: Duration) -> TimeAmount { TimeAmount(duration + .nanoseconds(1)) }

    func moment() -> Moment {
        Moment(wall: wallClock(), uptime: .nanoseconds(Int64(clamping: loop.now.uptimeNanoseconds)))
    }
}
