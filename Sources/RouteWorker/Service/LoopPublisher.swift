// The way of answers from the home event loop to the publisher's thread and back: one crossing per turn of the loop.

public import AMQP
public import AMQPMessage
public import NIOCore

/// Gathers what is published in one turn of an event loop, hands it to a publisher together, and takes the outcomes back
/// together: a wake-up of each thread per batch instead of per message.
public final class LoopPublisher: MessagePublisher {
    /// Messages that are waited for together.
    private final class Group {
        var outcomes: [PublishOutcome]
        var missing: Int
        let continuation: CheckedContinuation<[PublishOutcome], Never>

        init(_ count: Int, _ continuation: CheckedContinuation<[PublishOutcome], Never>) {
            outcomes = Array(repeating: .failed(.closed), count: count)
            missing = count
            self.continuation = continuation
        }
    }

    /// Lives on the loop.
    private struct Desk {
        var gathered: [Publication] = []
        var waiting: [UInt64: (group: Group, index: Int)] = [:]
        var lastTicket: UInt64 = 0

        /// - Returns: whether it is the first of its turn.
        mutating func add(_ messages: [OutgoingMessage], _ deadline: ContinuousClock.Instant, _ group: Group) -> Bool {
            let isFirst = gathered.isEmpty
            for (index, message) in messages.enumerated() {
                lastTicket += 1
                waiting[lastTicket] = (group, index)
                gathered.append(Publication(ticket: lastTicket, message: message, deadline: deadline))
            }
            return isFirst
        }

        mutating func take() -> [Publication] {
            defer { gathered.removeAll(keepingCapacity: false) }
            return gathered
        }

        mutating func resolve(_ results: [PublishResult]) {
            for result in results {
                guard let (group, index) = waiting.removeValue(forKey: result.ticket) else { continue }
                group.outcomes[index] = result.outcome
                group.missing -= 1
                if group.missing == 0 { group.continuation.resume(returning: group.outcomes) }
            }
        }
    }

    /// The publisher underneath, for starting and closing it.
    public let publisher: AMQPPublisher
    private let loop: any EventLoop
    private let desk: NIOLoopBoundBox<Desk>

    /// - Parameters:
    ///   - loop: where callers are; it must outlive the publisher.
    ///   - make: makes the publisher with the function that takes its results.
    public init(
        on loop: any EventLoop, _ make: (@escaping @Sendable ([PublishResult]) -> Void) throws -> AMQPPublisher
    ) rethrows {
        self.loop = loop
        let desk = NIOLoopBoundBox.makeBoxSendingValue(Desk(), eventLoop: loop)
        self.desk = desk
        publisher = try make { results in loop.execute { desk.value.resolve(results) } }
    }

    public func publish(_ messages: [OutgoingMessage], timeout: Duration) async -> [PublishOutcome] {
        if messages.isEmpty { return [] }
        let deadline = ContinuousClock.now + timeout
        return await withCheckedContinuation { continuation in
            if loop.inEventLoop {
                gather(messages, deadline, continuation)
            } else {
                loop.execute { self.gather(messages, deadline, continuation) }
            }
        }
    }

    private func gather(
        _ messages: [OutgoingMessage], _ deadline: ContinuousClock.Instant,
        _ continuation: CheckedContinuation<[PublishOutcome], Never>
    ) {
        let isFirst = desk.value.add(messages, deadline, Group(messages.count, continuation))
        if isFirst { loop.execute { self.publisher.enqueue(self.desk.value.take()) } }
    }
}
