# Sidekiq: threads, JSON, taken off the list before a job runs, no results. What Debian has is 6.4.1.
#
# Loaded by its worker, and run as a program it enqueues, with the arguments of produce.py:
#
#     ruby sidekiq_app.rb fill KIND COUNT
#     ruby sidekiq_app.rb rate KIND SECONDS one|many
require "json"
require "sidekiq"

URL = ENV.fetch("PEERS_REDIS_URL", "redis://127.0.0.1:6379/0")
Sidekiq.configure_server do |config|
  config.redis = { url: URL }
  # By default it writes two lines for each job.
  config.logger.level = Logger::WARN if ENV.fetch("PEERS_SETTING", "").start_with?("best")
end
Sidekiq.configure_client { |config| config.redis = { url: URL } }

# See marks.py. Ruby maps no files, so that a mark is a write of its own: about 2 us.
module Marks
  PATH = ENV["PEERS_MARKS"]
  FILE = PATH && File.open(PATH, "r+b")
  HALF = PATH && File.size(PATH) / 2

  def self.mark(at)
    FILE.pwrite([Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)].pack("Q"), at)
  end

  def self.began(number) = mark(8 * number)
  def self.ended(number) = mark(HALF + 8 * number)
end

class Noop
  include Sidekiq::Worker

  def perform(number)
    Marks.ended(number)
  end
end

class Nap
  include Sidekiq::Worker

  def perform(number, seconds)
    Marks.began(number)
    sleep seconds
    Marks.ended(number)
  end
end

WORK = { "noop" => [Noop], "1 ms" => [Nap, 0.001], "10 ms" => [Nap, 0.01] }.freeze
SLICE = 1000

def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

def enqueue(kind, numbers)
  worker, *more = WORK.fetch(kind)
  numbers.each { |number| worker.perform_async(number, *more) }
end

def enqueue_many(kind, numbers)
  worker, *more = WORK.fetch(kind)
  worker.perform_bulk(numbers.map { |number| [number, *more] })
end

def fill(kind, count)
  began = now
  (0...count).each_slice(SLICE) { |numbers| enqueue_many(kind, numbers) }
  { count: count, took_s: now - began }
end

def rate(kind, seconds, way)
  size, how = way == "many" ? [SLICE, method(:enqueue_many)] : [20, method(:enqueue)]
  how.call(kind, (0...size).to_a)
  count = 0
  began = now
  while (took_s = now - began) < seconds
    how.call(kind, (0...size).to_a)
    count += size
  end
  { count: count, took_s: took_s }
end

if $PROGRAM_NAME == __FILE__
  what, kind, amount, way = ARGV
  puts JSON.generate(what == "fill" ? fill(kind, amount.to_i) : rate(kind, amount.to_f, way))
end
