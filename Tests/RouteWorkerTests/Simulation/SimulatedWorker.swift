// A worker of a simulation: the real pipeline, with the simulated broker, store and API as it sees them.

import AMQP
import AMQPMessage
import IdempotencyStore
import InteractionAPI
import LoopSupport
import RoutingContract

@testable import RouteWorker

/// What its consumer, its partitions' service and its fleet's service would do for a pipeline is done here in the plainest way.
final class SimulatedWorker: @unchecked Sendable {
    let number: Int
    let world: SimulatedWorld
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
    private(set) var callsAtOnce: [OrgID: Int] = [:]

    init(_ number: Int, _ world: SimulatedWorld, _ settings: PipelineSettings, orgs: [KnownOrg]) {
        (self.number, self.world, self.settings, self.orgs) = (number, world, settings, orgs)
        note(settings.policies)
        let ports = Ports(worker: self)
        pipeline = DeliveryPipeline(
            settings: settings, loop: world.loop,
            decoder: CommandDecoder(rules: DecodingRules(), orgs: OrgDirectory(orgs)), store: ports,
            api: ports, publisher: ports, directReplies: ports, log: PipelineStage.log, wallClock: { world.wall })
        main = SimulatedConsumer(world) { [unowned self] event in
            pipeline.receive(event)
            receive(event)
        }
        lots = SimulatedConsumer(world) { [unowned self] in pipeline.receive($0) }
    }

    private func task(_ body: @escaping @Sendable () async -> Void) {
        Task(executorPreference: LoopExecutor.of(world.loop)) { await body() }
    }

    func start() {
        let seed = world.random.next()
        let ports = Ports(worker: self)
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
        world.after(300...700) { self.seekLocks() }
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
        let controls = world.controls
        pipeline.assumeIsolated { $0.use(controls) }
    }

    /// The configuration was read again.
    func reload(_ policies: [OrgID: OrgPolicy]) {
        note(policies)
        let decoder = CommandDecoder(rules: DecodingRules(), orgs: OrgDirectory(orgs))
        pipeline.assumeIsolated {
            $0.replaceOrgs(decoder: decoder, queueDefaults: settings.queues.map(\.defaults), policies: policies)
        }
    }

    private func note(_ policies: [OrgID: OrgPolicy]) {
        for (org, policy) in policies { mostCalls[org] = max(mostCalls[org] ?? 0, policy.maximumConcurrency ?? .max) }
    }

    // MARK: Ends

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
        isDead = true
        main.die()
        lots.die()
    }

    func hangIfDead() async { if isDead { await withUnsafeContinuation { (_: UnsafeContinuation<Void, Never>) in } } }

    // MARK: Looking

    func look() {
        world.seen.formUnion(pipeline.assumeIsolated { $0.orgs.values.map { "\($0.gate.state)" } })
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
        let isTurning = world.turned[org].map { world.uptime - $0 < .seconds(20) } ?? false
        if !isTurning, callsAtOnce[org]! > mostCalls[org]! {
            world.violated("\(callsAtOnce[org]!) calls of \(org) at once, of \(mostCalls[org]!)")
        }
        if callsAtOnce.values.reduce(0, +) > settings.concurrency { world.violated("more calls than slots") }
    }

    func ends(_ org: OrgID) { callsAtOnce[org]! -= 1 }

    /// The outside as one worker reaches it. A dead one gets no answer any more.
    private struct Ports: RoutingAPI, MessagePublisher, BestEffortPublisher, IdempotencyStore, ParkingLots {
        let worker: SimulatedWorker
        private var world: SimulatedWorld { worker.world }

        func perform(_ command: RouteCommand, timeout: Duration) async -> CallResult {
            await worker.hangIfDead()
            let result: CallResult
            if let number = command.number {
                worker.begins(command.key.org)
                result = await world.call(command, number: number, of: worker.number, timeout: timeout)
                worker.ends(command.key.org)
            } else {
                result = await world.answer(command.key.org, timeout)
            }
            await worker.hangIfDead()
            return result
        }

        func publish(_ messages: [OutgoingMessage], timeout: Duration) async -> [PublishOutcome] {
            await world.lag(0...10)
            await worker.hangIfDead()
            var outcomes: [PublishOutcome] = []
            worker.look()
            for message in messages {
                let fails = world.fails()
                if fails, Bool.random(using: &world.random) {
                    outcomes.append(.nacked)
                } else if world.broker.put(message.message, in: message.routingKey) {
                    world.published(message)
                    outcomes.append(fails ? .failed(.timeout("by the test")) : .confirmed)
                } else {
                    outcomes.append(.returned(code: 312, text: "NO_ROUTE"))
                }
            }
            await world.lag(0...10)
            await worker.hangIfDead()
            return outcomes
        }

        func publishBestEffort(_ message: OutgoingMessage) {}

        private func ask(_ operation: StoreOperation) async throws(StoreError) -> StoreReply {
            await world.lag(0...8)
            await worker.hangIfDead()
            let fails = world.fails()
            if fails, Bool.random(using: &world.random) { throw .unavailable("by the test") }
            let reply = try await world.backend.run([operation])[0]
            if case (.claim(let request), .claim(let result)) = (operation, reply) {
                world.claimed(result, request, by: worker.number)
            }
            await world.lag(0...8)
            await worker.hangIfDead()
            if fails { throw .unavailable("by the test") }
            return reply
        }

        func claim(_ request: ClaimRequest) async throws(StoreError) -> ClaimResult {
            guard case .claim(let result) = try await ask(.claim(request)) else { preconditionFailure() }
            return result
        }

        func record(_ result: CommandResult, for claim: Claim) async throws(StoreError) -> Fencing {
            guard case .fencing(let fencing) = try await ask(.record(result, claim)) else { preconditionFailure() }
            return fencing
        }

        func release(_ claim: Claim, as release: Release) async throws(StoreError) -> Fencing {
            guard case .fencing(let fencing) = try await ask(.release(claim, release)) else { preconditionFailure() }
            return fencing
        }

        func mark(_ request: ClaimRequest) async throws(StoreError) { _ = try await ask(.mark(request)) }
        func purge(limit: Int) async throws(StoreError) -> Int { 0 }
        func close() async {}

        func prepare(_ lot: String) async -> ParkingReadiness {
            await world.delay(5...40)
            await worker.hangIfDead()
            if world.refusesLots { return .refused("by the test") }
            if world.fails() { return .failed("by the test") }
            world.broker.declare(lot)
            return .ready
        }

        func messages(in lots: [String]) async -> [String: Int]? {
            await world.delay(2...20)
            if world.fails() { return nil }
            let found = world.broker.queues.filter { lots.contains($0.key) && !world.isAbsent($0.key) }
                .mapValues(\.stored.count)
            await world.delay(2...20)
            await worker.hangIfDead()
            return found
        }

        func areEmpty(_ lots: [String]) async -> Bool {
            worker.look()
            await world.delay(2...20)
            let areEmpty = lots.allSatisfy { lot in
                world.broker.queues[lot].map { $0.stored.isEmpty && !$0.channels.isEmpty } ?? true
            }
            await world.delay(2...20)
            await worker.hangIfDead()
            return areEmpty && !world.fails()
        }

        func subscribe(_ lot: String, prefetch: UInt16, lock: String?) {
            (lock == nil ? worker.lots : worker.main).subscribe(lot, prefetch: Int(prefetch), lock: lock)
        }

        func unsubscribe(_ lot: String, lock: String?) { (lock == nil ? worker.lots : worker.main).unsubscribe(lot) }
        func settle(_ batch: [Settlement]) { worker.lots.settle(batch) }
    }
}

extension DeliveryPipeline {
    fileprivate func seed(_ seed: UInt64) { generator = SeededGenerator(seed: seed) }
}

extension RouteCommand {
    /// Of a command of the test; probes have none.
    fileprivate var number: Int? {
        conversation.contains("-org") ? Int(key.request.description.suffix(12)) : nil
    }
}
