#!/usr/bin/env ruby
# frozen_string_literal: true

# Told by hand in ruby.txt.

require "set"
require_relative "golden/base"

VERSION = "1.0"

# Shopping.
module Shop
  # The most that fits.
  LIMIT = 8 # not about what follows
  RATES = {
    low: 1,
    high: 2,
  }.freeze
  A, B = 1, 2

  class Error < StandardError; end

  # An invoice.
  #
  # With rows.
  class Invoice < Base::Document
    include Comparable

    attr_reader :rows
    # Who pays.
    attr_accessor :customer, :address
    attr_writer "note"

    @@count = 0
    DEFAULT_NAME ||= "none"

    class << self
      # Makes one.
      def build(*rows, **options)
        new(*rows)
      end

      private

      def cache = @cache ||= {}
    end

    def self.empty
      new
    end

    def initialize(*rows, name: DEFAULT_NAME, &block)
      @rows = rows
      on_total = ->(total) { puts total }
      block&.call(self)
    end

    # What is owed.
    def total
      rows.sum do |row|
        def helper(x)
          x * 2
        end
        helper(row.amount)
      end
    end

    def paid?; @paid; end

    def pay!
      @paid = true
    rescue Error => error
      raise
    ensure
      log
    end

    def name=(name)
      @name = name
    end

    def <=>(other)
      total <=> other.total
    end

    def [](index) = rows[index]

    def +@
      self
    end

    def ==(other) = other.total == total

    alias_method :size, :total
    alias sum total

    # About it.
    private def secret(a)
      a
    end

    private_class_method def self.hidden; end

    define_method(:dynamic) do |x|
      x + 1
    end

    %w[one two].each do |name|
      define_method("get_#{name}") { name }
    end

    private

    def after_private
      text = <<~TEXT
        def not_a_method
        end
      TEXT
      text
    end

    # Below all.
  end

  Point = Struct.new(:x, :y) do
    def length
      Math.sqrt(x**2 + y**2)
    end

    def self.origin = new(0, 0)
  end

  Pair = Data.define(:left, :right)

  Plugin = Module.new do
    def plug; end
  end

  HELP = <<~HELP
    class NotAClass
    end
  HELP

  module_function

  def format(amount)
    "%.2f" % amount
  end
end

module Shop::Reports
  class Shop::Reports::Daily
    def run; end
  end

  class ::Global
    def everywhere; end
  end
end

class String
  def shout
    upcase + "!"
  end
end

def top_level(a, b = 2)
  yield a if block_given?
end

def main.special; end
def Shop.open; end

if RUBY_VERSION > "3"
  def modern; end
else
  def modern
  end
end

task :default do
  def in_block; end
end

=begin
Of the last one.
=end
def größe; end; def second; end

BEGIN { puts "first" }

__END__
def data
end
