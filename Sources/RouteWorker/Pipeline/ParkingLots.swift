// What the pipeline needs of the broker to park orgs.

public import AMQP

/// The parking queues on the broker. Events of consuming them go to ``DeliveryPipeline/receive(_:)`` like all others.
public protocol ParkingLots: Sendable {
    /// Makes sure that a parking queue is there.
    func prepare(_ lot: String) async -> ParkingReadiness
    /// How many messages wait in each queue, those left out that do not exist or cannot be looked at; `nil` when the broker
    /// cannot be asked now.
    func messages(in lots: [String]) async -> [String: Int]?
    /// Whether nothing waits in any of these queues, each of which somebody consumes, unless it does not exist; false also
    /// where that cannot be told.
    func areEmpty(_ lots: [String]) async -> Bool
    /// Starts to consume; does not wait.
    ///
    /// - Parameter lock: that of the commands queue, where it has one: the lot is consumed on the connection that holds
    ///   it, settled like the commands queue, and lost with it.
    func subscribe(_ lot: String, prefetch: UInt16, lock: String?)
    /// Closes the channel without a cancel, so that what is unsettled goes back to its place; does not wait. What was
    /// settled before is settled first. ``ConsumerEvent/subscriptionLost(queue:generation:_:)`` tells that it is done.
    func unsubscribe(_ lot: String, lock: String?)
    /// As ``AMQPConsumer/settle(_:)``, for lots without a lock.
    func settle(_ batch: [Settlement])
}

/// Whether commands can be put into a parking queue.
public enum ParkingReadiness: Sendable, Hashable {
    case ready
    /// Not until somebody changes something, for this reason.
    case refused(String)
    /// Not now, for this reason.
    case failed(String)
}
