// A worker of a simulation: the real pipeline, with the simulated broker, store and API as it sees them.

import AMQP
import AMQPMessage
import IdempotencyStore
import InteractionAPI
import LoopSupport
import NIOCore
import RoutingContract

@testable import RouteWorker

/// What its consumer, its partitions' service and its fleet's service would do for a pipeline is done here in the plainest way.
final class SimulatedWorker: @unchecked Sendable {
    static let rules: DecodingRules = {
        var rules = DecodingRules()
        rules.honoursReplay = true
        rules.replyAllowList.append(.prefix("replies."))
        return rules
    }()

    let number: Int
    let world: SimulatedWorld
    let loop: SimulatedLoop
    private(set) var pipeline: DeliveryPipeline!
    private let settings: PipelineSettings
    private let orgs: [KnownOrg]
    /// The most calls that each org was ever to get at a time: what was started keeps its policy.
    private var mostCalls: [OrgID: Int] = [:]
    /// Holds commands queues and locks, and the parking queues of queues with a lock.
    private(set) var main: SimulatedConsumer!
    private(set) var lots: SimulatedConsumer!
    /// The queues whose locks it should hold.
    var wanted: Set<String> = []
    private var tenures: [String: Int] = [:]
    private(set) var isDead = false
    private(set) var isDraining = false
    private(set) var hasEnded = false
    /// When it was woken last, and when its clock went on again after it had stood.
    private(set) var wokeAt: Duration = .zero
    private(set) var stoodUntil: Duration?
    private(set) var callsAtOnce: [OrgID: Int] = [:]
    /// What an org asked for with `Retry-After`.
    private var quiet: [OrgID: (since: Duration, until: Duration)] = [:]
    /// Stops its process just before its next call leaves.
    var beforeCall: (() -> Void)?

    init(_ number: Int, _ world: SimulatedWorld, _ settings: PipelineSettings, orgs: [KnownOrg]) {
        (self.number, self.world, self.settings, self.orgs) = (number, world, settings, orgs)
        loop = SimulatedLoop(world.loop)
        let ports = SimulatedPorts(worker: self)
        pipeline = DeliveryPipeline(
            settings: settings, loop: loop,
            decoder: CommandDecoder(rules: Self.rules, orgs: OrgDirectory(orgs)), store: ports,
            api: ports, publisher: ports, directReplies: ports, log: PipelineStage.log, wallClock: { world.wall })
        note(settings.policies)
        main = SimulatedConsumer(world) { [unowned self] event in
            pipeline.receive(event)
            loop.execute { self.receive(event) }
        }
        lots = SimulatedConsumer(world) { [unowned self] in pipeline.receive($0) }
    }

    private func task(_ body: @escaping @Sendable () async -> Void) {
        Task(executorPreference: LoopExecutor.of(loop)) { await body() }
    }

    func start() {
        let seed = world.random.next()
        let ports = SimulatedPorts(worker: self)
        task { [self] in
            await pipeline.seed(seed)
            await pipeline.park(in: ports)
            obey()
            task { [self] in
                await pipeline.run { [self] in main.settle($0) }
                hasEnded = true
            }
            await pipeline.findLeftOvers()
            for queue in settings.queues where queue.lock == nil {
                main.subscribe(queue.name, prefetch: queue.prefetch)
            }
            seekLocks()
            while !isDead, !isDraining {
                await world.delay(25_000...35_000)
                await pipeline.lookForLeftOvers()
            }
        }
    }

    // MARK: Partitions

    private func seekLocks() {
        guard !isDead, !isDraining else { return }
        for queue in settings.queues where wanted.contains(queue.name) {
            if let lock = queue.lock, world.broker.holders[lock] == nil { main.acquire(lock) }
        }
        loop.scheduleTask(in: .milliseconds(Int64(world.chosen(300...700)))) { self.seekLocks() }
    }

    private func receive(_ event: ConsumerEvent) {
        guard case .lockHeld(let lock) = event else { return }
        let queue = settings.queues.first { $0.lock == lock }!
        tenures[queue.name, default: 0] += 1
        // It was asked for before the queue was given to another worker.
        guard wanted.contains(queue.name) else { return handOver(queue.name) }
        let tenure = tenures[queue.name]
        task { [self] in
            while tenures[queue.name] == tenure, wanted.contains(queue.name), !isDraining {
                guard let taken = await pipeline.takeOver([queue.name]) else {
                    await world.delay(1000...1000)
                    continue
                }
                guard taken == [queue.name], tenures[queue.name] == tenure, wanted.contains(queue.name) else { return }
                return main.subscribe(queue.name, prefetch: queue.prefetch, lock: lock)
            }
        }
    }

    func handOver(_ name: String) {
        wanted.remove(name)
        let tenure = tenures[name]
        world.transcript("hand over \(name) by \(number)")
        task { [self] in
            guard await pipeline.handOver(name), tenures[name] == tenure else { return }
            main.unsubscribe(name)
            main.release(settings.queues.first { $0.name == name }!.lock!)
        }
    }

    /// Operators have said something.
    func obey() {
        loop.execute { [self] in
            let controls = world.controls
            pipeline.assumeIsolated { $0.use(controls) }
        }
    }

    /// The configuration was read again.
    func reload(_ policies: [OrgID: OrgPolicy]) {
        note(policies)
        let decoder = CommandDecoder(rules: Self.rules, orgs: OrgDirectory(orgs))
        loop.execute { [self] in
            pipeline.assumeIsolated {
                $0.replaceOrgs(decoder: decoder, queueDefaults: settings.queues.map(\.defaults), policies: policies)
            }
        }
    }

    private func note(_ policies: [OrgID: OrgPolicy]) {
        for (org, policy) in policies { mostCalls[org] = max(mostCalls[org] ?? 0, policy.maximumConcurrency ?? .max) }
    }

    // MARK: Ends

    /// Its process is stopped for a while.
    ///
    /// - Parameter clockStands: as that of a machine which is stopped with it.
    func suspend(for milliseconds: Int64, clockStands: Bool) {
        world.transcript("\(number) is suspended for \(milliseconds) ms\(clockStands ? ", its clock, too" : "")")
        world.witness.isGone(number)
        loop.suspend()
        main.suspend()
        lots.suspend()
        world.after(milliseconds...milliseconds) { [self] in
            world.transcript("\(number) is woken")
            world.witness.wakes()
            wokeAt = world.uptime
            if clockStands { stoodUntil = wokeAt }
            main.wake()
            lots.wake()
            loop.wake(clockStood: clockStands)
        }
    }

    func drain() {
        isDraining = true
        world.transcript("drain \(number)")
        task { [self] in
            if await !pipeline.drain(within: .seconds(100)) { world.violated("drain of \(number) takes for ever") }
            // What it does beside comes to an end, too.
            while !hasEnded { await world.delay(100...100) }
            die()
        }
    }

    func die() {
        world.transcript("end of \(number)")
        if !isDraining { world.witness.isGone(number) }
        isDead = true
        loop.end()
        main.die()
        lots.die()
    }

    // MARK: Looking

    func look() {
        world.witness.seen.formUnion(pipeline.assumeIsolated { $0.orgs.values.map { "\($0.gate.state)" } })
    }

    /// What is left of anything once there is nothing to do.
    func leftOver() -> [String] {
        var left: [String] = []
        pipeline.assumeIsolated { pipeline in
            let load = pipeline.load
            if load != (0, 0, 0) { left.append("worker \(number) holds \(load)") }
            for (org, state) in pipeline.orgs {
                if !state.gate.isLive { left.append("worker \(number): \(org) is \(state.gate.state)") }
                if !state.heldBack.isEmpty || state.fresh.held != 0 {
                    left.append("worker \(number) holds fresh of \(org)")
                }
                if !state.gate.lots.isEmpty { left.append("worker \(number): lots \(state.gate.lots)") }
            }
            for queue in settings.queues.indices where !pipeline.tenures.isHandedOver(queue) {
                left.append("worker \(number): queue \(queue) is not quiet")
            }
        }
        left += (lots.subscribed + main.subscribed.filter { $0.contains(".parked.") }).map { "consumes \($0)" }
        return left
    }

    func begins(_ org: OrgID) {
        callsAtOnce[org, default: 0] += 1
        let isTurning = world.turned[org].map { world.uptime - max($0, wokeAt) < .seconds(20) } ?? false
        if !isTurning, callsAtOnce[org]! > mostCalls[org]! {
            world.violated("\(callsAtOnce[org]!) calls of \(org) at once, of \(mostCalls[org]!)")
        }
        if callsAtOnce.values.reduce(0, +) > settings.concurrency { world.violated("more calls than slots") }
    }

    func ends(_ org: OrgID, _ result: CallResult) {
        callsAtOnce[org]! -= 1
        guard case .answered(let answer) = result, let seconds = answer.retryAfter.flatMap({ Int($0) }) else { return }
        let until = world.uptime + .seconds(seconds)
        quiet[org] = (world.uptime, max(until, quiet[org]?.until ?? .zero))
    }

    func isToWait(for org: OrgID) -> Bool {
        guard let quiet = quiet[org], world.slowness.isEmpty, !world.mayRepeat else { return false }
        return world.uptime - quiet.since > SimulatedWorld.oneTurn && world.uptime < quiet.until
    }

    /// - Returns: whether its process was stopped.
    func stopBeforeCall() -> Bool {
        guard let stop = beforeCall else { return false }
        beforeCall = nil
        stop()
        return true
    }
}

extension DeliveryPipeline {
    fileprivate func seed(_ seed: UInt64) { generator = SeededGenerator(seed: seed) }
}
