// A broker in memory for the simulation: queues that give back in order what was not settled, channels, connections, locks.

import AMQP
import AMQPMessage
import RoutingContract

@testable import RouteWorker

/// Queues as a quorum queue is, to one thing: several consumers of a commands queue are served in no special order.
///
/// Confined to the loop of its world, as all of the simulation.
final class SimulatedBroker: @unchecked Sendable {
    struct Stored {
        /// Its place in the queue, which it keeps.
        let place: Int
        let message: Message
        var deliveries = 0
    }

    final class Queue {
        var stored: [Stored] = []
        var channels: [SimulatedConsumer.Channel] = []

        /// Messages that are with nobody, or with somebody.
        var count: Int { stored.count + channels.reduce(0) { $0 + $1.unsettled.count } }
    }

    let world: SimulatedWorld
    private(set) var queues: [String: Queue] = [:]
    /// Whose each lock is.
    var holders: [String: ObjectIdentifier] = [:]
    private var places = 0
    private(set) var generation: UInt64 = 0

    init(_ world: SimulatedWorld) { self.world = world }

    func declare(_ name: String) { if queues[name] == nil { queues[name] = Queue() } }

    func nextGeneration() -> UInt64 {
        generation += 1
        return generation
    }

    /// - Returns: whether there is such a queue.
    func put(_ message: Message, in name: String) -> Bool {
        guard let queue = queues[name], !world.isAbsent(name) else { return false }
        places += 1
        queue.stored.append(Stored(place: places, message: message))
        pumpSoon(name)
        return true
    }

    func giveBack(_ messages: some Collection<Stored>, to name: String) {
        queues[name]!.stored.append(contentsOf: messages)
        queues[name]!.stored.sort { $0.place < $1.place }
        pumpSoon(name)
    }

    func pumpSoon(_ name: String) { world.after(0...3) { self.pump(name) } }

    private func pump(_ name: String) {
        let queue = queues[name]!
        // Of a parking queue one consumer is active, the first.
        let open =
            name.contains(".parked.") ? Array(queue.channels.prefix(1)) : queue.channels.shuffled(using: &world.random)
        for channel in open {
            var deliveries: [Delivery] = []
            while !queue.stored.isEmpty, channel.unsettled.count < channel.prefetch {
                // What two share is shared out.
                if open.count > 1, deliveries.count >= 2 { break }
                var stored = queue.stored.removeFirst()
                channel.lastTag += 1
                var message = stored.message
                if stored.deliveries > 0 {
                    message.properties.headers["x-delivery-count"] = .int64(Int64(stored.deliveries))
                }
                deliveries.append(
                    Delivery(
                        receipt: Receipt(generation: channel.generation, channel: 1, deliveryTag: channel.lastTag),
                        queue: name, routingKey: name, redelivered: stored.deliveries > 0, message: message))
                stored.deliveries += 1
                channel.unsettled[channel.lastTag] = stored
            }
            if !deliveries.isEmpty { channel.tell(.deliveries(deliveries)) }
        }
        if open.count > 1, !queue.stored.isEmpty, open.contains(where: { $0.unsettled.count < $0.prefetch }) {
            pumpSoon(name)
        }
    }
}

/// One connection of a worker's consumer: what is asked of it is done a little later, in its order.
final class SimulatedConsumer: @unchecked Sendable {
    final class Channel {
        let generation: UInt64
        let prefetch: Int
        let tell: (ConsumerEvent) -> Void
        var lastTag: UInt64 = 0
        var unsettled: [UInt64: SimulatedBroker.Stored] = [:]

        init(_ generation: UInt64, prefetch: Int, tell: @escaping (ConsumerEvent) -> Void) {
            (self.generation, self.prefetch, self.tell) = (generation, prefetch, tell)
        }
    }

    private final class Slot {
        let prefetch: Int
        let lock: String?
        var generation: UInt64 = 0
        var channel: Channel?
        init(_ prefetch: Int, _ lock: String?) { (self.prefetch, self.lock) = (prefetch, lock) }
    }

    private let world: SimulatedWorld
    private var broker: SimulatedBroker { world.broker }
    private let hear: (ConsumerEvent) -> Void
    private var slots: [String: Slot] = [:]
    private var locks: Set<String> = []
    private var requests: [() -> Void] = []
    private var isClosed = false
    /// What its worker does not hear of for now.
    private var unheard: [ConsumerEvent]?

    init(_ world: SimulatedWorld, hear: @escaping (ConsumerEvent) -> Void) {
        (self.world, self.hear) = (world, hear)
    }

    private func tell(_ event: ConsumerEvent) {
        if unheard == nil { hear(event) } else { unheard!.append(event) }
    }

    /// The queues that it has, or wants to have, a channel on.
    var subscribed: [String] { slots.keys.sorted() }

    private func request(_ request: @escaping () -> Void) {
        requests.append(request)
        world.after(0...15) { if !self.isClosed { self.requests.removeFirst()() } }
    }

    func settle(_ batch: [Settlement]) {
        request {
            for settlement in batch {
                guard case .ack(let receipt) = settlement else { preconditionFailure("nothing here is to be rejected") }
                for (queue, slot) in self.slots where slot.channel?.generation == receipt.generation {
                    self.world.transcript("ack \(queue) \(receipt.generation)/\(receipt.deliveryTag)")
                    guard let settled = slot.channel!.unsettled.removeValue(forKey: receipt.deliveryTag) else {
                        preconditionFailure("settled twice")
                    }
                    self.world.witness.acknowledges(settled.message)
                    self.broker.pumpSoon(queue)
                }
            }
        }
    }

    func subscribe(_ queue: String, prefetch: Int, lock: String? = nil) {
        request {
            guard self.slots[queue] == nil else { return }
            if let lock, !self.locks.contains(lock) {
                return self.tell(.subscriptionLost(queue: queue, generation: 0, .closed))
            }
            self.slots[queue] = Slot(prefetch, lock)
            self.openSoon(queue, 0...20)
        }
    }

    func unsubscribe(_ queue: String) { request { self.remove(queue, .closed) } }

    func acquire(_ lock: String) {
        request {
            guard self.broker.holders[lock] == nil else { return self.tell(.lockRefused(lock, .closed)) }
            self.broker.holders[lock] = ObjectIdentifier(self)
            self.locks.insert(lock)
            self.world.transcript("lock held")
            self.tell(.lockHeld(lock))
        }
    }

    func release(_ lock: String) {
        request {
            guard self.locks.contains(lock) else { return }
            for (queue, slot) in self.slots where slot.lock == lock { self.remove(queue, .closed) }
            self.loseLock(lock, .closed)
        }
    }

    // MARK: Faults

    /// Its process was stopped.
    func suspend() { unheard = [] }

    /// Its thread may be later than the worker's in finding out what has happened meanwhile.
    func wake() {
        world.after(0...200) {
            let unheard = self.unheard ?? []
            self.unheard = nil
            for event in unheard { self.hear(event) }
        }
    }

    func loseChannel(of queue: String) {
        guard slots[queue]?.channel != nil else { return }
        close(queue)
        tell(.subscriptionLost(queue: queue, generation: slots[queue]!.generation, .connectionLost("by the test")))
        openSoon(queue, 10...2000)
    }

    func loseConnection() {
        for queue in slots.keys.sorted() {
            if slots[queue]!.lock != nil {
                remove(queue, .connectionLost("by the test"))
            } else {
                loseChannel(of: queue)
            }
        }
        for lock in locks { loseLock(lock, .connectionLost("by the test")) }
    }

    /// Its process is gone.
    func die() {
        isClosed = true
        for queue in slots.keys { close(queue) }
        for lock in locks { broker.holders[lock] = nil }
    }

    // MARK: -

    private func openSoon(_ queue: String, _ delay: ClosedRange<Int64>) {
        let slot = slots[queue]!
        world.after(delay) {
            guard !self.isClosed, self.slots[queue] === slot, slot.channel == nil else { return }
            if self.unheard != nil { return self.openSoon(queue, 10...2000) }
            self.broker.declare(queue)
            slot.generation = self.broker.nextGeneration()
            slot.channel = Channel(slot.generation, prefetch: slot.prefetch, tell: self.tell)
            self.world.transcript("subscribed \(queue) \(slot.generation)")
            self.tell(.subscribed(queue: queue, generation: slot.generation))
            self.broker.queues[queue]!.channels.append(slot.channel!)
            self.broker.pumpSoon(queue)
        }
    }

    private func close(_ queue: String) {
        guard let channel = slots[queue]!.channel else { return }
        slots[queue]!.channel = nil
        world.transcript("closed \(queue) \(channel.generation)")
        broker.queues[queue]!.channels.removeAll { $0 === channel }
        broker.giveBack(channel.unsettled.values, to: queue)
    }

    private func remove(_ queue: String, _ error: AMQPError) {
        guard let slot = slots[queue] else { return }
        close(queue)
        slots[queue] = nil
        tell(.subscriptionLost(queue: queue, generation: slot.generation, error))
    }

    private func loseLock(_ lock: String, _ error: AMQPError) {
        locks.remove(lock)
        broker.holders[lock] = nil
        world.transcript("lock lost")
        tell(.lockLost(lock, error))
    }
}
